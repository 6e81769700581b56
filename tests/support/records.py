"""The log records that the package makes, one at a time, as they come."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.waiting import PATIENCE


def reporters() -> set[threading.Thread]:
    """The threads that make log records now, of all queues."""
    return {each for each in threading.enumerate() if each.name == "jobqueue-report"}


class Records(logging.Handler):
    """Keeps the records of the logger "jobqueue" while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._records: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(record)

    def next(self) -> logging.LogRecord:
        """The next record; waits for it."""
        return self._records.get(timeout=PATIENCE)

    def rest(self) -> list[logging.LogRecord]:
        """The records that are there and were not asked for yet."""
        found = []
        while not self._records.empty():
            found.append(self._records.get_nowait())
        return found

    def __enter__(self) -> Records:
        logging.getLogger("jobqueue").addHandler(self)
        return self

    def __exit__(self, *_error: object) -> None:
        logging.getLogger("jobqueue").removeHandler(self)


@contextmanager
def log_handler_that_raises(raised: type[BaseException]) -> Iterator[None]:
    """Within this a log handler of the program's raises at each record of the queue's."""

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise raised

    logger, handler = logging.getLogger("jobqueue"), Raises()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
