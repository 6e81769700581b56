"""SIGKILL, EIO and EINTR at chosen system calls of a child process, injected by strace."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobqueue.final import Config, JobQueue, Status
from tests.support import insides
from tests.support.children import Child, read_acks, run
from tests.support.handlers import Recorder
from tests.support.left_out import often
from tests.support.waiting import PATIENCE

SEGMENT = "00000001.jsonl"
CALLS = ("pwrite64", "fdatasync")
LESS = ("async", "write")
"""The levels that make fewer of these calls."""
AT_ONCE = 2
TRIES = 3
MOMENTS_MAX = often(2, 20)  # about, of one call
"""A run makes fewer calls than the one before where more jobs gather in a batch."""


def _can_inject() -> str:
    """Why system calls cannot be traced here; empty where they can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    probe = ["strace", "-f", "-qq", "-e", "trace=none", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()}"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_can_inject()), reason=_can_inject() or "it can"),
]


def strace(log: Path, *injections: str) -> list[str]:
    """The command that injects faults into the calls that concern the log's first segment."""
    chosen = [word for each in injections for word in ("-e", f"inject={each}")]
    trace = ["-e", f"trace={','.join(CALLS)}", *chosen]
    return ["strace", "-f", "-qq", "-P", str(log / SEGMENT), "-o", "/dev/null", *trace]


def count_calls(directory: Path, durability: str) -> dict[str, int]:
    """How often an undisturbed run makes each of the calls."""
    log, counts = directory / "jobs.db", directory / "counts"
    prefix = strace(log)
    prefix[prefix.index("/dev/null")] = str(counts)
    run("batches_of_jobs", log, directory / "acks", durability, prefix=prefix)
    text = counts.read_text()
    return {call: len(re.findall(rf"\b{call}\(", text)) for call in CALLS}


def check(log: Path, acks: Path, *, all_acked_survive: bool) -> None:
    """What was acknowledged is finished or runs again; nothing appears that never was."""
    lines = [line.split() for line in read_acks(acks)]
    accepted = {job_id for what, job_id in lines if what == "accepted"}
    ran = {job_id for what, job_id in lines if what == "ran"}
    recorder = Recorder()
    with JobQueue(Config(persist_path=log), handler=recorder, start=False) as jq:
        known = {f"job-{n}" for n in range(200) if f"job-{n}" in insides.status_map(jq)}
        assert len(known) == len(insides.status_map(jq).live) + len(insides.status_map(jq).finished)
        finished = {job_id for job_id in known if jq.status(job_id) is Status.COMPLETED}
        assert finished <= ran
        if all_acked_survive:
            assert accepted <= known
        jq.start()
        assert jq.join(PATIENCE)
        assert {jq.status(job_id) for job_id in known} <= {Status.COMPLETED}
    again = recorder.ids()
    assert sorted(again) == sorted(known - finished)


def chosen(count: int) -> list[int]:
    """The calls at which to kill: all, or of very many as many as there is time for, evenly.

    A map has each of its pages written by a call first, which are hundreds, all alike.
    """
    step = max(1, count // MOMENTS_MAX)
    return sorted({*range(1, count + 1, step), count})


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "durability", [pytest.param("async", marks=pytest.mark.daily), "write", "fsync"]
)
def test_sigkill_at_each_write_and_each_fsync_loses_no_acknowledged_job(
    tmp_path: Path, durability: str
) -> None:
    """Fault 1 of docs/reliability.md."""
    (tmp_path / "whole").mkdir()
    calls = count_calls(tmp_path / "whole", durability)
    assert calls["fdatasync"] >= 3  # the header, and the two of sealing
    moments = [(call, number) for call in CALLS for number in chosen(calls[call])]

    def kill_at(moment: tuple[str, int]) -> bool:
        call, number = moment
        directory = tmp_path / f"{call}-{number}"
        directory.mkdir()
        log, acks = directory / "jobs.db", directory / "acks"
        killing = strace(log, f"{call}:signal=SIGKILL:when={number}")
        with Child("batches_of_jobs", log, acks, durability, prefix=killing) as child:
            code = child.end()
            assert code in {0, -signal.SIGKILL}, child.stderr  # 0: it made fewer calls this time
        check(log, acks, all_acked_survive=durability != "async")
        shutil.rmtree(directory)
        return code != 0

    def is_killed_at(moment: tuple[str, int]) -> bool:
        return any(kill_at(moment) for _ in range(TRIES))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = sum(pool.map(is_killed_at, moments))
    assert killed >= 3
    assert killed > len(moments) / 2


@pytest.mark.parametrize(
    "durability", ["fsync", *(pytest.param(each, marks=pytest.mark.daily) for each in LESS)]
)
def test_interrupted_system_calls_are_never_seen(tmp_path: Path, durability: str) -> None:
    """Fault 11 of docs/reliability.md."""
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    interrupting = [f"{call}:error=EINTR:when=2+3" for call in CALLS]

    lines = run("batches_of_jobs", log, acks, durability, prefix=strace(log, *interrupting))

    assert lines == []
    assert len([line for line in read_acks(acks) if line.startswith("ran ")]) == 200
    check(log, acks, all_acked_survive=True)


def test_after_an_fsync_that_failed_the_kernel_is_asked_for_no_other(tmp_path: Path) -> None:
    """Fault 8 of docs/reliability.md."""
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    failing = strace(log, "fdatasync:error=EIO:when=3+")
    trace = tmp_path / "trace"
    failing[failing.index("/dev/null")] = str(trace)

    with Child("batches_of_jobs", log, acks, "fsync", prefix=failing) as child:
        assert child.end() == 1
        assert "LogWriteError" in child.stderr

    calls = re.findall(r"fdatasync\(.*= (-?\d+)", trace.read_text())
    assert calls.count("-1") == 1
    assert calls[-1] == "-1"
    check(log, acks, all_acked_survive=True)
