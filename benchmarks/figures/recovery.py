"""How long it takes to open a log, and to run the first job after a `kill -9`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from benchmarks.figures.growth import resident_bytes
from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from benchmarks.logs import decode_all, size_of, write_log
from benchmarks.measure import (
    ChildError,
    Figure,
    Findings,
    Samples,
    alternate,
    in_fresh_process,
    scratch,
    seconds,
)
from jobqueue.final import Config, Job, JobQueue

# ── replay ───────────────────────────────────────────────────────────────────────────────────

SIZES = (10_000, 100_000, 1_000_000)
RETAINED = 10_000


def replay() -> Findings:
    """Opening logs of finished jobs, against decoding their lines and doing nothing with them."""
    with scratch() as directory:
        by_size = {size: _replay(size, directory) for size in SIZES}
        log = write_log(directory / "log", SIZES[1], finished=True)
        small = in_fresh_process(bytes_to_open, _linked(log, directory / "small"))
    samples, large, megabytes = by_size[SIZES[-1]]
    opening, decoding = samples.median("open"), samples.median("decode")
    return Findings(
        [
            Figure(
                "replay of 1,000,000 finished jobs, against one pass of msgspec over its lines",
                samples.ratio("open", "decode"),
                1.5,
                at_most=True,
                detail=f"{opening:.2f} against {decoding:.2f} s, {megabytes:.0f} MB",
            ),
            Figure(
                f"memory that opening takes where {RETAINED:,} of 1,000,000 finished jobs are "
                "remembered, against where as many of 100,000 are",
                large / small,
                None,
                detail=f"{large / 1e6:.0f} against {small / 1e6:.0f} MB",
            ),
        ],
        {
            "replay": {
                str(size): {name: samples.median(name) for name in samples}
                for size, (samples, *_) in by_size.items()
            }
        },
    )


def _replay(jobs: int, directory: Path) -> tuple[Samples, float, float]:
    """What opening and decoding took, bytes that opening took, megabytes of the log."""
    log = write_log(directory / str(jobs), jobs, finished=True)
    copies = (_linked(log, directory / f"{jobs}-{number}") for number in count())
    samples = alternate(
        {
            "open": lambda: in_fresh_process(seconds_to_open, next(copies)),
            "decode": lambda: in_fresh_process(seconds_to_decode, log),
        },
        warm_up=False,
    )
    return samples, in_fresh_process(bytes_to_open, next(copies)), size_of(log) / 1e6


def _linked(log: Path, copy: Path) -> Path:
    """Another name for each file: sealed segments never change, and opening adds new ones."""
    copy.mkdir(mode=0o700)
    for path in log.iterdir():
        os.link(path, copy / path.name)
    return copy


def seconds_to_open(log: Path) -> float:
    """How long the constructor takes."""
    return seconds(lambda: JobQueue(Config(persist_path=log), handler=nothing, start=False))


def seconds_to_decode(log: Path) -> float:
    """How long reading the lines takes at the very least."""
    return seconds(lambda: decode_all(log))


def bytes_to_open(log: Path) -> float:
    """How much more memory the process has once the log is open."""
    config = Config(persist_path=log, status_retention=RETAINED)
    before = resident_bytes()
    JobQueue(config, handler=nothing, start=False)
    return resident_bytes() - before


# ── recovery ─────────────────────────────────────────────────────────────────────────────────

UNFINISHED = 100_000
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"

RESTARTED = """
import os, sys
from jobqueue import Config, JobQueue

def handler(payload):
    os.write(1, b"running")
    os._exit(0)

JobQueue(Config(persist_path=sys.argv[1]), handler=handler).join()
"""


def recovery() -> Findings:
    """From the start of a new process to its first recovered job, after `kill -9` of the old."""
    with scratch() as directory:
        log = directory / "log"
        _kill_with_jobs(log)
        copies = (Path(shutil.copytree(log, directory / str(number))) for number in count())
        samples = alternate(
            {
                "recover": lambda: _seconds_to_first_job(next(copies)),
                "decode": lambda: in_fresh_process(seconds_to_decode, log),
            }
        )
    samples["allowed"] = [1.5 * decoding + 0.3 for decoding in samples["decode"]]
    taken, allowed = samples.median("recover"), samples.median("allowed")
    return Findings(
        [
            Figure(
                "recovery of 100,000 jobs after kill -9, from the start of the process to the "
                "first job, against 1.5 passes of msgspec over the log and 0.3 s",
                samples.ratio("recover", "allowed"),
                0.8,
                at_most=True,
                detail=f"{taken:.2f} against {allowed:.2f} s",
            )
        ]
    )


def _kill_with_jobs(log: Path) -> None:
    try:
        in_fresh_process(enqueue_and_die, log)
    except ChildError:
        return  # it died, as it should
    raise AssertionError("a process outlived kill -9")


def enqueue_and_die(log: Path) -> None:
    """Leave a log as `kill -9` leaves it; does not return."""
    jq = JobQueue(Config(persist_path=log, queue_size=UNFINISHED), handler=nothing, start=False)
    for number in range(UNFINISHED):
        jq.enqueue(Job(PAYLOAD, id=f"job-{number}"))
    os.kill(os.getpid(), signal.SIGKILL)


def _seconds_to_first_job(log: Path) -> float:
    # The first process leaves its modules compiled, as installing a package does.
    environment = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}

    def restart() -> None:
        command = [sys.executable, "-c", RESTARTED, str(log)]
        output = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
        assert output.startswith(b"running")  # maybe of several workers

    return seconds(restart)
