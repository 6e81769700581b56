"""A queue that is busy, and in some trouble, to look at: what `jobqueue web --demo` shows.

A shop that does not exist sends e-mails, webhooks and invoices. Its handlers only sleep: nothing
leaves the machine, and the log is in a temporary directory that goes with the queue.

orders.py    what the shop enqueues, in which order and when, by a seed
shop.py      the handlers, what goes wrong in them, and the schedules
running.py   the queue, and the thread that enqueues
"""

from .running import demonstration

__all__ = ["demonstration"]
