"""What a dashboard costs that somebody has open on every page, with a million jobs known.

The pages are asked for by another process, as a browser is one: each every two seconds, the part of
it that is live. A turn begins when each page has been asked for once, for what takes long to find
out is kept for a while.

What that costs is told twice. Throughput is that of many short turns with and without it, side by
side; but a machine of few cores swings by more than what is looked for, and the process that asks
takes its part of it. So there is also the share of this process's processor time that the threads
take that answer. One thread runs at a time: what they take is what the others lack.
"""

from __future__ import annotations

import gc
import http.client
import logging
import multiprocessing
import queue
import threading
import time
from multiprocessing.synchronize import Event
from statistics import median
from urllib.parse import urlsplit

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from benchmarks.measure import Figure, Findings, Samples
from jobqueue.final import Config, Job, JobQueue, RejectJobError

JOBS = 1_000_000
DEAD = 10_000
TURNS = 25
TURN_SECONDS = 4.0
PERIOD = 2.0
PAGES = (
    "",
    "jobs",
    "jobs?status=failed",
    "jobs?status=queued&handler=held&text=nothing",
    "dead",
    "handlers",
    "periodic",
    "job?id=job-7",
)
PAGE_SECONDS_MAX = 0.2
DROP_MAX = 0.98
SHARE_MAX = 2.0
ANSWERING = ("jobqueue-web", "AnyIO worker thread")
"""How the names of the threads begin that answer."""
_BATCH = 1000


def dashboard(
    jobs: int = JOBS, dead: int = DEAD, turns: int = TURNS, turn_seconds: float = TURN_SECONDS
) -> Findings:
    """Pages at rest and under load; throughput with a browser on every page and without."""
    from jobqueue.web import serve_dashboard  # the other figures do without that extra

    config = Config(num_workers=4, queue_size=2 * jobs, status_retention=2 * jobs, max_retries=0)
    logger = logging.getLogger("jobqueue")
    was, logger.disabled = logger.disabled, True  # of each dead letter it would tell
    with JobQueue(config, handlers={"busy": nothing, "held": nothing, "fails": _fail}) as jq:
        _fill(jq, jobs, dead)
        with serve_dashboard(jq, port=0) as server:
            _wait_until_warm(server.url)
            figures = [_times("at rest", *_at_rest(server.url))]
            figures += _under_load(jq, server.url, turns, turn_seconds)
        jq.close(0.0, drain=False)
    logger.disabled = was
    return Findings(figures)


def _fail(_: bytes) -> None:
    raise RejectJobError("no such customer")


def _fill(jq: JobQueue, jobs: int, dead: int) -> None:
    for start in range(0, dead, _BATCH):
        jq.enqueue_many([Job(PAYLOAD, handler="fails") for _ in range(start, start + _BATCH)])
    jq.join()
    jq.pause(handler="held")
    for start in range(0, jobs, _BATCH):
        ids = range(start, min(start + _BATCH, jobs))
        jq.enqueue_many([Job(PAYLOAD, id=f"job-{n}", handler="held") for n in ids])


def _get(connection: http.client.HTTPConnection, page: str) -> tuple[int, float]:
    """The status of a page, and how many seconds it took."""
    began = time.perf_counter()
    connection.request("GET", f"/{page}", headers={"HX-Request": "true"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - began


def _connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)


def _wait_until_warm(url: str) -> None:
    connection = _connect(url)
    while _get(connection, "jobs")[0] != 200:
        pass  # each try waits a moment for it
    connection.close()


def _at_rest(url: str) -> tuple[str, float]:
    """The page that takes longest when it is asked for first, and how long."""
    connection = _connect(url)
    times: dict[str, float] = {}
    computed: dict[str, float] = {}
    for page in PAGES:
        began = time.process_time()
        status, times[page] = _get(connection, page)
        computed[page] = time.process_time() - began
        assert status == 200, (page, status)
    connection.close()
    slowest = max(times, key=times.__getitem__)
    # On a machine that does other things too, most of the time is theirs.
    return f"{slowest or 'overview'}, of which {1e3 * computed[slowest]:.0f} ms computed", times[
        slowest
    ]


def _times(when: str, slowest: str, seconds: float) -> Figure:
    return Figure(
        f"dashboard, {when}: the slowest page",
        seconds,
        PAGE_SECONDS_MAX,
        at_most=True,
        unit="s",
        detail=slowest,
    )


def _browse(
    url: str,
    on: Event,
    swept: Event,
    ended: Event,
    answers: multiprocessing.Queue[tuple[str, float]],
) -> None:
    """The other process: asks for each page every two seconds while `on` is set."""
    while not ended.is_set():
        if not on.wait(0.1):
            continue
        began = time.monotonic()
        connection = _connect(url)
        for page in PAGES:
            status, seconds = _get(connection, page)
            assert status == 200, (page, status)
            answers.put((page or "overview", seconds))
        connection.close()
        swept.set()
        ended.wait(max(0.0, began + PERIOD - time.monotonic()))


def _under_load(jq: JobQueue, url: str, turns: int, turn_seconds: float) -> list[Figure]:
    context = multiprocessing.get_context("spawn")
    on, swept, ended = (context.Event() for _ in range(3))
    answers = context.Queue()
    browser = context.Process(target=_browse, args=(url, on, swept, ended, answers), daemon=True)
    browser.start()
    speeds, shares = Samples(polled=[], alone=[]), list[float]()
    _speed(jq, turn_seconds)  # the first turn warms everything
    for turn in range(turns):
        for name in ("polled", "alone") if turn % 2 else ("alone", "polled"):
            if name == "polled":
                swept.clear()
                on.set()
                assert swept.wait(60)
            else:
                on.clear()
            answered, all_threads = _answering_seconds(), time.process_time()
            speeds[name].append(_speed(jq, turn_seconds))
            answered = _answering_seconds() - answered
            if name == "polled":
                shares.append(100 * answered / (time.process_time() - all_threads))
    on.clear()
    ended.set()
    times: dict[str, list[float]] = {}
    while browser.is_alive() or not answers.empty():
        try:
            page, seconds = answers.get(timeout=0.2)
        except queue.Empty:
            continue
        times.setdefault(page, []).append(seconds)
    slowest = max(times, key=lambda page: median(times[page]))
    detail = (
        f"{speeds.median('polled'):,.0f} of {speeds.median('alone'):,.0f} jobs/s; medians in ms: "
        + ", ".join(f"{page} {1e3 * median(each):.0f}" for page, each in times.items())
    )
    return [
        _times("under full load, median", slowest, median(times[slowest])),
        Figure(
            "throughput while every page is polled, of that without",
            speeds.ratio("polled", "alone"),
            DROP_MAX,
            detail=detail,
        ),
        Figure(
            "processor time of the threads that answer, while every page is polled, of all threads",
            median(shares),
            SHARE_MAX,
            at_most=True,
            unit="%",
        ),
    ]


def _answering_seconds() -> float:
    """Processor time of the threads that answer."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(each.ident))
        for each in threading.enumerate()
        if each.ident is not None and each.name.startswith(ANSWERING)
    )


def _speed(jq: JobQueue, seconds: float) -> float:
    """Jobs a second, enqueued and done, for about so long."""
    gc.collect()
    gc.disable()
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        handles = jq.enqueue_many([Job(PAYLOAD, handler="busy") for _ in range(_BATCH)])
        handles[-1].wait()
        done += _BATCH
    gc.enable()
    return done / (now - began)
