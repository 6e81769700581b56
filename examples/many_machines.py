"""A shop on several machines: an order and the job that it brings are in one transaction.

Run it with the DSN of a database that has the tables of the queue, and one of the shop's own:
CREATE TABLE orders (id serial, what text). It may run as often at a time as you like.
"""

from __future__ import annotations

import sys

import psycopg

from jobqueue import Tasks
from jobqueue.postgres import PostgresConfig, PostgresQueue

tasks = Tasks()


@tasks.task(name="invoice.send")
def send_invoice(order: int) -> str:
    return f"invoice {order} is sent"


def place_order(queue: PostgresQueue, connection: psycopg.Connection, what: str) -> str:
    """Place an order; the id of the job that sends its invoice."""
    with connection.transaction():
        row = connection.execute("INSERT INTO orders (what) VALUES (%s) RETURNING id", [what])
        (order,) = row.fetchone() or (0,)
        if not what:
            raise ValueError("an order of nothing")  # neither order nor invoice
        job = send_invoice.job(order)
        return queue.enqueue(job, connection=connection).id


def main(dsn: str) -> None:
    with (
        PostgresConfig(dsn, num_workers=8).open() as queue,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        tasks.bind(queue)
        print(queue.handle(place_order(queue, connection, "tea")).result(10))
        try:
            place_order(queue, connection, "")
        except ValueError as error:
            print(error)


if __name__ == "__main__":
    main(sys.argv[1])
