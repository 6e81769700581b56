"""Log records of `jobqueue run`, as lines of text or of JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error", "critical")
logger = logging.LoggerAdapter(
    logging.getLogger("jobqueue"),
    dict.fromkeys(("job_id", "handler", "attempt", "priority", "queue")),  # as those of the queue
)

_OF_EACH = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: str, level: str) -> None:
    """Have the records of the whole process written to stderr, one a line.

    A module that sets up logging by itself, when it is imported, has the last word.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines() if form == "json" else logging.Formatter(
            "%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
    )  # fmt: skip
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """A record as one JSON object: `time`, `level`, `logger`, `message`, and what else it has.

    That is `exception` and `stack`, as text, and the fields that `extra=` gave it. Those of the
    queue's records, and of a job's own logger, are `job_id`, `handler`, `attempt`, `priority` and
    `queue`. All in ASCII; what JSON does not know stands there as its `repr`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        shown: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            shown["exception"] = record.exc_text
        if record.stack_info:
            shown["stack"] = self.formatStack(record.stack_info)
        extra = {name: each for name, each in vars(record).items() if name not in _OF_EACH}
        return json.dumps({**extra, **shown}, default=repr, skipkeys=True)
