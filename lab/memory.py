"""What a fast producer and slow workers do to the memory, with a bound and without."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from . import drawing
from .experiment import Data, Experiment, Settings
from .filling import Load
from .findings import bullets
from .pages import table
from .processes import Program, resident_bytes, run_each

MB = 1_000_000
TIERS = ("naive", "improved", "final")
SAMPLES = 80
_DASHED = (0, (4, 4))


def measure(settings: Settings) -> Data:
    """Run the same load against each tier, and look at the process's memory meanwhile."""
    seconds = settings.pick(full=8.0, quick=0.25)
    settings.progress.expect(len(TIERS) * seconds)
    loads = [Load(tier, seconds, 20_000, 1024, 0.001) for tier in TIERS]
    tiers = {}
    results = run_each([partial(_watch, each) for each in loads], settings.pick(full=1, quick=3))
    for load, result in zip(loads, results, strict=True):
        tiers[load.tier] = result
        settings.progress.advance(seconds)
    return {"load": {**asdict(loads[0]), "tier": "each"}, "tiers": tiers}


def _watch(load: Load) -> dict[str, Any]:
    """The process's memory over time, and what it tells at the end."""
    with Program("filling", asdict(load)) as program:
        program.line()
        watch = _Watch(program.pid, load.seconds / SAMPLES)
        try:
            told = json.loads(program.line())
        finally:
            watch.stop()
        program.terminate()
        program.wait()
        return {**told, "seconds": watch.seconds, "megabytes": watch.megabytes}


class _Watch:
    """Looks at the memory of a process, again and again, in a thread of its own."""

    def __init__(self, pid: int, interval: float) -> None:
        self.seconds: list[float] = []
        self.megabytes: list[float] = []
        self._pid = pid
        self._interval = interval
        self._stopped = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lab-memory")
        self._thread.start()

    def _run(self) -> None:
        self._look()
        while not self._stopped.wait(self._interval):
            self._look()
        self._look()

    def _look(self) -> None:
        self.seconds.append(round(time.monotonic() - self._start, 3))
        self.megabytes.append(round(resident_bytes(self._pid) / MB, 1))

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()


def growth(tier: dict[str, Any]) -> float:
    """Megabytes a second."""
    grown = tier["megabytes"][-1] - tier["megabytes"][0]
    return float(max(grown, 0.0) / tier["seconds"][-1])


def report(data: Data) -> str:
    """A row for each tier."""
    rows = [
        [
            f"`{name}`", tier["accepted"], tier["done"], tier["accepted"] - tier["done"],
            f"{tier['megabytes'][-1]:.0f} MB", f"{growth(tier):.1f} MB",
            f"{tier['blocked'] / data['load']['seconds']:.0%}",
        ]
        for name, tier in data["tiers"].items()
    ]  # fmt: skip
    header = ["tier", "accepted", "done", "waiting at the end", "memory at the end"]
    header += ["growth a second", "time the producer waited"]
    return "\n\n".join([table(header, rows), bullets(_findings(data))])


def _findings(data: Data) -> Iterator[str]:
    load, naive, final = data["load"], data["tiers"]["naive"], data["tiers"]["final"]
    yield (
        f"A producer offered {load['rate']:,} jobs a second of {load['payload_bytes']:,} bytes; "
        f"four workers took {1000 * load['job_seconds']:g} ms or a bit more for each. Without "
        f"a bound {naive['accepted'] - naive['done']:,} jobs waited after {load['seconds']:g} s"
        f"{_when_full(naive)}."
    )
    yield (
        f"With a bound of 1,000 a lane, {final['accepted'] - final['done']:,} waited, and memory "
        f"stayed at {final['megabytes'][-1]:.0f} MB: the producer was made to wait for "
        f"{final['blocked'] / load['seconds']:.0%} of its time."
    )
    yield (
        f"Done in that time: {naive['done']:,} jobs without a bound, {final['done']:,} with one. "
        "A longer queue makes no worker faster."
    )


def _when_full(tier: dict[str, Any]) -> str:
    rate = growth(tier)
    if not rate:
        return ""
    return f"; at that rate 1 GB is full after {1000 / rate:,.0f} s"


def draw(data: Data, figure: Any) -> None:
    """Memory over time, a line for each tier."""
    naive, improved, final = (data["tiers"][name] for name in TIERS)
    drawing.title(
        figure,
        f"Without a bound, memory grows by {growth(naive):.0f} MB a second; "
        f"with one it stays at {final['megabytes'][-1]:.0f} MB",
        f"A producer offers {data['load']['rate']:,} jobs a second of 1 KiB, more than four "
        f"workers can do.{_lying_together(improved, final)}",
    )
    axes = figure.subplots()
    ends = []
    waiting = {name: tier["accepted"] - tier["done"] for name, tier in data["tiers"].items()}
    for name, tier in (("naive", naive), ("improved", improved), ("final", final)):
        colour = drawing.TIERS[name]
        style = _DASHED if name == "final" else "-"  # where it lies on improved, both are seen
        axes.plot(tier["seconds"], tier["megabytes"], color=colour, linestyle=style)
        text = f"{name}: {waiting[name]:,}\njobs wait"
        ends.append((tier["seconds"][-1], tier["megabytes"][-1], text, colour))
    axes.set_xlim(0, max(each[0] for each in ends))
    axes.set_ylim(0, 1.05 * max(max(tier["megabytes"]) for tier in data["tiers"].values()))
    axes.set_xlabel("seconds")
    axes.set_ylabel("memory of the process, MB")
    drawing.label_ends(axes, ends)


def _lying_together(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What the reader has to know if two lines cannot be told apart."""
    pairs = zip(one["megabytes"], other["megabytes"], strict=False)
    near = all(abs(a - b) <= 0.02 * max(one["megabytes"][-1], 1.0) for a, b in pairs)
    return " The two with a bound lie on each other." if near else ""


EXPERIMENT = Experiment(
    name="memory",
    question="What happens when jobs come faster than they are done?",
    measure=measure,
    report=report,
    draw=draw,
)
