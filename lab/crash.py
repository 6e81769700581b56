"""What becomes of accepted jobs when their process is killed."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobqueue import final

from . import drawing
from .bank import charges
from .experiment import Data, Experiment, Settings
from .findings import bullets
from .ledger import Ledger, read_ledger
from .pages import table
from .processes import Program, run_each
from .tiers import Kind
from .victim import Shop


@dataclass(frozen=True, slots=True)
class Case:
    """A queue that is killed, and what its handler notes down."""

    name: str
    kind: Kind
    manner: str = "plain"
    workers: int = 4


LOGS = (
    Case("naive", Kind("naive")),
    Case("improved", Kind("improved")),
    Case('final, "async"', Kind("final", "async")),
    Case('final, "write"', Kind("final", "write")),
    Case('final, "fsync"', Kind("final", "fsync")),
)
"""How much a kill takes from each tier; each is killed in a process of its own."""

ORDERS_OF_STEPS = (
    Case("before running", Kind("final", "write"), "mark first", 8),
    Case("after running", Kind("final", "write"), "plain", 8),
    Case("after running; the bank knows the order's id", Kind("final", "write"), "key", 8),
    Case(
        "job and finish, both after running",
        Kind("improved"),
        "record after",
        8,
    ),
)
"""When the finish of a job is recorded; all four queues die in the same process, by one signal."""

GUARANTEES = ("at most once", "at least once", "effectively once", '"process, then persist"')
"""What comes of each order of steps, or is said to."""

LABELS = (
    "at most once:\nfinish recorded first",
    "at least once:\nfinish recorded last",
    "effectively once:\nthe same, with a key",
    '"process, then persist":\njob recorded last',
)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the orders of a queue.

    Attributes:
        accepted: orders whose `enqueue` had returned before the kill.
        before: of these, those charged for before the kill.
        restarted: charged for only after the restart.
        lost: never charged for.
        twice: charged for twice.
        ran_twice: whose handler got as far as the bank twice.
    """

    accepted: int = 0
    before: int = 0
    restarted: int = 0
    lost: int = 0
    twice: int = 0
    ran_twice: int = 0

    def __add__(self, other: Fate) -> Fate:
        mine, theirs = asdict(self), asdict(other)
        return Fate(**{name: mine[name] + theirs[name] for name in mine})


def measure(settings: Settings) -> Data:
    """Kill each, again and again, each time at another moment."""
    kills = settings.pick(full=6, quick=1)
    fewest, most = settings.pick(full=(1_200, 2_400), quick=(100, 200))
    rng = random.Random(settings.seed)
    groups: list[Sequence[Case]] = [*([case] for case in LOGS), ORDERS_OF_STEPS]
    fates = {case.name: Fate() for group in groups for case in group}
    settings.progress.expect(kills * len(groups))
    crashes = [
        partial(_crash, group, rng.randint(fewest, most) // len(group), home)
        for kill in range(kills)
        for group, home in zip(groups, _homes(settings.scratch / str(kill)), strict=False)
    ]
    for crash in run_each(crashes, settings.pick(full=1, quick=len(groups))):
        for case, fate in crash.items():
            fates[case.name] += fate
        settings.progress.advance()
    return {
        "kills": kills,
        "logs": {case.name: asdict(fates[case.name]) for case in LOGS},
        "orders": {case.name: asdict(fates[case.name]) for case in ORDERS_OF_STEPS},
    }


def _homes(parent: Path) -> Iterator[Path]:
    return (parent / str(number) for number in itertools.count())


def _crash(cases: Sequence[Case], orders: int, home: Path) -> dict[Case, Fate]:
    """Kill a process with all these queues while orders come in, and look what is left."""
    shops = []
    for case, own in zip(cases, _homes(home), strict=False):
        own.mkdir(parents=True)
        shops.append(Shop(own, case.kind, case.manner, case.workers))
    with Program("victim", [shop.as_settings() for shop in shops]) as victim:
        victim.line()
        accepted = shops[-1].home / "ledger"
        while accepted.read_bytes().count(b"accepted") < orders and victim.is_running():
            time.sleep(0.0005)
        victim.kill()
    return {case: fate_after_restart(shop) for case, shop in zip(cases, shops, strict=True)}


def fate_after_restart(shop: Shop) -> Fate:
    """Start a killed shop's queue again, let it finish, and count."""
    accepted = read_ledger(shop.home / "ledger")["accepted"]
    before = charges(shop.home, shop.manner)
    restart(shop)
    after = charges(shop.home, shop.manner)
    asked = charges(shop.home, "plain")
    return Fate(
        accepted=len(accepted),
        before=sum(before[order] > 0 for order in accepted),
        restarted=sum(after[order] > 0 and not before[order] for order in accepted),
        lost=sum(after[order] == 0 for order in accepted),
        twice=sum(after[order] > 1 for order in accepted),
        ran_twice=sum(asked[order] > 1 for order in accepted),
    )


def restart(shop: Shop) -> None:
    """What a restart does: open the log. If there is none, there is nothing to do.

    With "record after", a job is recorded only when it has run. The sender of the orders then
    sends those again that it finds no record of.
    """
    if shop.manner == "record after":
        notes = read_ledger(shop.home / "ledger")
        recorded = set(notes["recorded"])
        with Ledger(shop.home / "ledger") as ledger:
            door = shop.open(ledger)
            for order in notes["accepted"]:
                if order not in recorded:
                    door.enqueue(order)
            door.queue.close()
    elif shop.kind.durability is not None:
        with Ledger(shop.home / "ledger") as ledger:
            queue = shop.open(ledger).queue
            assert isinstance(queue, final.JobQueue)
            queue.join()
            queue.close()


def report(data: Data) -> str:
    """Two tables: what a kill takes from each tier, and what the order of steps does."""
    logs = table(
        ["queue", "accepted", "run before the kill", "run after the restart", "lost", "run twice"],
        [[name, *_columns(fate, "lost", "twice")] for name, fate in data["logs"].items()],
    )
    orders = table(
        [
            "finish is recorded",
            "which is",
            "accepted",
            "never charged",
            "charged twice",
            "ran twice",
        ],
        [
            [name, said, fate["accepted"], fate["lost"], fate["twice"], fate["ran_twice"]]
            for (name, fate), said in zip(data["orders"].items(), GUARANTEES, strict=True)
        ],
        "llrrrr",
    )
    kills = "1 kill" if data["kills"] == 1 else f"{data['kills']} kills"
    return "\n\n".join(
        [
            f"{kills} of each queue, while jobs came in:",
            logs,
            "Four queues in one process, killed by the same signal, as often:",
            orders,
            bullets(_findings(data)),
        ]
    )


def _columns(fate: dict[str, int], *last: str) -> list[int]:
    return [fate[name] for name in ("accepted", "before", "restarted", *last)]


def _findings(data: Data) -> Iterator[str]:
    naive, improved, unsafe, write, fsync = data["logs"].values()
    most, least, key, process = data["orders"].values()
    yield (
        f"`naive` lost {_share(naive)} of the jobs that it had accepted, `improved` "
        f"{_share(improved)}: all that was not finished when the kill came, as it was in memory "
        "alone."
    )
    yield (
        f'`final` lost {write["lost"]:,} with `"write"`, {fsync["lost"]:,} with `"fsync"`, and '
        f'{unsafe["lost"]:,} with `"async"`, whose last few milliseconds are still in memory.'
    )
    yield (
        f"Finish recorded first: {most['lost']:,} orders never charged, {most['twice']:,} charged "
        f"twice. Finish recorded last: {least['lost']:,} never, {least['twice']:,} twice. With "
        f"the order's id as a key at the bank: {key['lost']:,} never, {key['twice']:,} twice, "
        f"although {key['ran_twice']:,} handlers ran twice."
    )
    yield (
        f'"Process, then persist" lost {process["restarted"]:,} of {process["accepted"]:,} '
        "accepted orders, until somebody sent them again; and then it charged "
        f"{process['twice']:,} twice. Either can happen: it is neither at least once nor at most "
        "once."
    )


def _share(fate: dict[str, int]) -> str:
    return f"{fate['lost'] / max(fate['accepted'], 1):.0%}"


def draw(data: Data, figure: Any) -> None:
    """Above, what is lost; below, what is charged never or twice."""
    naive, _, _, write, fsync = data["logs"].values()
    lost = write["lost"] + fsync["lost"]
    drawing.title(
        figure,
        f"kill -9 takes {_share(naive)} of the accepted jobs from a queue in memory, "
        f"{lost or 'none'} where enqueue waits for the log",
        f"Each job charges a customer. {data['kills']} kills while jobs come in faster than they "
        "are done; then a restart.",
    )
    above, below = figure.subplots(2, 1, height_ratios=(5, 5.2))
    _draw_logs(above, data["logs"])
    _draw_orders(below, data["orders"])


def _draw_logs(axes: Any, fates: dict[str, dict[str, int]]) -> None:
    parts = {
        "before": ("ran before the kill", drawing.BLUE),
        "restarted": ("ran after the restart", drawing.SKY),
        "lost": ("lost for ever", drawing.VERMILION),
    }
    told = set()
    for place, fate in enumerate(fates.values()):
        start = 0.0
        for part, (text, colour) in parts.items():
            share = 100 * fate[part] / max(fate["accepted"], 1)
            axes.barh(place, share, left=start, color=colour, height=0.74)
            if share > 28 and part not in told:  # there is room to say what it is, once
                told.add(part)
                middle = start + share / 2
                shade = drawing.ON_PALE if colour == drawing.SKY else drawing.ON_COLOUR
                drawing.inside(axes, middle, place, text, color=shade)
            start += share
        colour = drawing.VERMILION if fate["lost"] else drawing.INK
        drawing.label(axes, 100, place, f"{fate['lost']:,} of {fate['accepted']:,} lost", colour)
    axes.set_xlim(0, 100)
    axes.set_xticks([])
    _name_rows(axes, list(fates))


def _draw_orders(axes: Any, fates: dict[str, dict[str, int]]) -> None:
    most = max(1, *(max(fate["lost"], fate["twice"]) for fate in fates.values()))
    columns = (
        ("lost", "never charged", 0.0, drawing.VERMILION),
        ("twice", "charged twice", 2.7 * most, drawing.ORANGE),
    )
    last = len(fates) - 1
    for what, heading, start, colour in columns:
        axes.text(start, -0.75, heading, color=colour, weight=700, va="center")
        axes.plot([start, start], [-0.4, last + 0.4], color=drawing.INK, linewidth=1)
        for place, fate in enumerate(fates.values()):
            axes.barh(place, fate[what], left=start, color=colour, height=0.6)
            text = f"{fate[what]:,}"
            if place == last and what == "lost":
                text += f", but {fate['restarted']:,} had to be sent again"
            shade = colour if fate[what] else drawing.QUIET
            drawing.label(axes, start + fate[what], place, text, shade, dx=6)
    axes.set_xlim(0, 4.4 * most)
    axes.set_ylim(last + 0.5, -1.1)
    axes.set_xticks([])
    _name_rows(axes, LABELS)


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


EXPERIMENT = Experiment(
    name="crash",
    question="What is left of the accepted jobs when their process is killed?",
    measure=measure,
    report=report,
    draw=draw,
)
