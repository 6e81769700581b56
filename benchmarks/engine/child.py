"""A process that enqueues, or that runs jobs: `python -m benchmarks.engine.child NAME ROLE …`.

The driver's orders come on standard input; a line on standard output answers each.
"""

from __future__ import annotations

import sys
import time

from .contenders import CONTENDERS, Contender, Place


def main(arguments: list[str]) -> None:
    name, role, dsn, redis, dead_after = arguments
    contender, place = CONTENDERS[name], Place(dsn, redis)
    if role == "install":
        contender.install(place)
    elif role == "work":
        contender.work(place, float(dead_after) if dead_after else None, lambda: _say("ready"))
    else:
        _produce(contender, place)


def _produce(contender: Contender, place: Place) -> None:
    with contender.produce(place) as producer:
        producer.one_by_one(3)  # connections, plans and caches are made by that
        _say("ready")
        for line in sys.stdin:
            order, *given = line.split()
            begin = time.monotonic()
            if order == "paced":
                producer.paced(int(given[0]), float(given[1]))
            elif order == "blocking":
                producer.blocking()
            elif order == "bulk":
                producer.bulk(int(given[0]))
            else:
                producer.one_by_one(int(given[0]))
            _say(f"{begin} {time.monotonic()}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
