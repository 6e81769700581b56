"""What a queue costs that processes share: `python -m benchmarks.sharing`.

Prints a Markdown table: an `enqueue` in the owner with and without `share`, in a client; clients
that enqueue at once, against the owner alone; how long a handover takes. All at "write".
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from jobqueue.final import Config, Job, JobQueue

from .measure import scratch

PAYLOAD = bytes(100)
ROUND = 500
AT_ONCE = 128
QUEUE_SIZE = 10**6


def config(log: str, share: str) -> Config:
    return Config(persist_path=log, share=share, queue_size=QUEUE_SIZE)  # type: ignore[arg-type]  # one of them


def no_op(payload: bytes) -> None:
    """Costs what the queue costs."""


def times(jq: JobQueue, calls: int) -> list[float]:
    """How long each call took, in seconds."""
    found = []
    for _ in range(calls):
        job = Job(PAYLOAD)
        begun = time.perf_counter()
        jq.enqueue(job)
        found.append(time.perf_counter() - begun)
    return found


def owners(rounds: int) -> tuple[float, float]:
    """The p50 of an owner's `enqueue`, in µs: not shared, and shared; in turn."""
    plain: list[float] = []
    shared: list[float] = []
    with (
        scratch() as place,
        JobQueue(config(f"{place}/off", "off"), handler=no_op, start=False) as off,
        JobQueue(config(f"{place}/auto", "auto"), handler=no_op, start=False) as auto,
    ):
        for _ in range(rounds):
            plain += times(off, ROUND)
            shared += times(auto, ROUND)
    return 1e6 * statistics.median(plain), 1e6 * statistics.median(shared)


def owners_rate(rounds: int) -> float:
    """Jobs a second that the owner enqueues by itself, one after the other."""
    with (
        scratch() as place,
        JobQueue(config(f"{place}/jobs", "auto"), handler=no_op, start=False) as jq,
    ):
        begun = time.perf_counter()
        times(jq, rounds * ROUND)
        return rounds * ROUND / (time.perf_counter() - begun)


def child(role: str, log: str, calls: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sharing", "--as", role, log, "--calls", str(calls)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def clients(count: int, role: str, calls: int) -> list[str]:
    """Have clients in processes of their own enqueue; what each said at its end."""
    with ExitStack() as stack:
        place = stack.enter_context(scratch())
        log = f"{place}/jobs"
        stack.enter_context(JobQueue(config(log, "auto"), handler=no_op, start=False))
        children = [stack.enter_context(child(role, log, calls)) for _ in range(count)]
        for each in children:
            assert line(each) == "ready"
        for each in children:
            go(each)
        return [line(each) for each in children]


def latency(calls: int) -> float:
    """The p50 of a client's `enqueue`, in µs."""
    return float(clients(1, "latency", calls)[0])


def rate_together(count: int, calls: int, role: str) -> float:
    """Jobs a second that so many clients enqueue together; see `enqueue_all`."""
    spans = [tuple(map(float, each.split())) for each in clients(count, role, calls)]
    return count * calls / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def handover(jobs: int) -> tuple[float, float]:
    """Seconds from an owner's death to the next one's first answer, and to open such a log."""
    with ExitStack() as stack:
        place = stack.enter_context(scratch())
        log = f"{place}/jobs"
        owner = stack.enter_context(child("owner", log, jobs))
        assert line(owner) == "ready"
        client = stack.enter_context(JobQueue(config(log, "auto"), start=False))
        assert client.metrics().queued == jobs
        os.kill(owner.pid, signal.SIGKILL)
        begun = time.perf_counter()
        client.enqueue(Job(PAYLOAD, handler="later"))
        took = time.perf_counter() - begun
        client.close()
        begun = time.perf_counter()
        with JobQueue(config(log, "off"), start=False):
            return took, time.perf_counter() - begun


def be_child(role: str, log: str, calls: int) -> None:
    with JobQueue(config(log, "auto" if role == "owner" else "client"), start=False) as jq:
        if role == "owner":
            jq.register("later", no_op)
            jq.enqueue_many([Job(PAYLOAD, handler="later") for _ in range(calls)])
        else:
            jq.metrics()
        print("ready", flush=True)
        sys.stdin.readline()
        if role == "latency":
            times(jq, calls // 10)
            print(1e6 * statistics.median(times(jq, calls)), flush=True)
        elif role in ("pipelined", "many"):
            begun = time.time()
            asyncio.run(enqueue_all(jq, calls, is_many=role == "many"))
            print(begun, time.time(), flush=True)
            jq.close()


async def enqueue_all(jq: JobQueue, calls: int, *, is_many: bool) -> None:
    """Enqueue jobs, some at once: by a call for each that do not wait for each other, or by one."""
    for begin in range(0, calls, AT_ONCE):
        jobs = [Job(PAYLOAD) for _ in range(min(AT_ONCE, calls - begin))]
        if is_many:
            await jq.aenqueue_many(jobs)
        else:
            await asyncio.gather(*map(jq.aenqueue, jobs))


def report(rounds: int) -> str:
    """The table."""
    off, auto = owners(rounds)
    client = latency(rounds * ROUND)
    alone = owners_rate(rounds)
    pipelined = rate_together(16, 4 * ROUND, "pipelined")
    many = rate_together(16, 4 * ROUND, "many")
    took, opening = handover(10_000)
    return "\n".join(
        [
            "| what | figure | wanted |",
            "|---|---|---|",
            f"| `enqueue`, not shared, p50 | {off:.1f} µs | |",
            f"| `enqueue` in the owner, p50 | {auto:.1f} µs | the same |",
            f"| `enqueue` in a client, p50 | {client:.0f} µs | at most 120 µs |",
            f"| the owner alone | {alone:,.0f} jobs/s | |",
            f"| 16 clients together, {AT_ONCE} calls under way in each | {pipelined:,.0f} jobs/s, "
            f"{pipelined / alone:.2f} of it | at least 0.35 |",
            f"| 16 clients together, by `enqueue_many` | {many:,.0f} jobs/s, "
            f"{many / alone:.2f} of it | |",
            f"| a handover with 10,000 unfinished jobs | {took:.2f} s; opening the log takes "
            f"{opening:.2f} s | at most 0.5 s more than that |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--as", dest="role", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role is not None:
        be_child(args.role[0], args.role[1], args.calls)
    else:
        print(report(args.rounds))


if __name__ == "__main__":
    main()
