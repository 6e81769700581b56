"""The command refuses a log that others can write to, as a queue does."""

from __future__ import annotations

import pytest

from jobqueue.final import Config, Job, JobQueue
from tests.support.commands import Command
from tests.support.logs import LogDirectory


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect",),
        ("cat",),
        ("verify",),
        ("repair",),
        ("compact",),
        ("dead",),
        ("dead", "--discard", "a"),
    ],
    ids=" ".join,
)
def test_what_others_may_write_to_is_refused_unless_that_is_allowed(
    log: LogDirectory, command: Command, arguments: tuple[str, ...]
) -> None:
    """Fault 37 of docs/reliability.md."""
    config = Config(persist_path=log.path, max_retries=0)
    with JobQueue(config, handlers={"bad": _fail}) as jq:
        jq.enqueue(Job(id="a", handler="bad")).wait(10)
    log.path.chmod(0o770)

    refused = command(*arguments)
    allowed = command(*arguments, "--allow-shared")

    assert (refused.code, refused.out) == (5, "")
    assert refused.err.startswith(f"jobqueue: {log.path}: refused: others may write to it")
    assert "--allow-shared" in refused.err
    assert allowed.code == 0


def _fail(_payload: bytes) -> None:
    raise ValueError("boom")
