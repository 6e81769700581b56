"""The image example: its pictures, its handlers, its accounts, its advice, and one whole run."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from PIL import Image

from examples.images import __main__ as command
from examples.images import pictures, pipeline, timed, work
from examples.images.audit import Audit, audit
from examples.images.blurhash import blurhash
from examples.images.pipeline import Made, Setting
from examples.images.results import Measured, finding, measured
from examples.images.timed import Timed
from jobqueue.final import Config, Job, JobContext, RejectJobError
from tests.support.example_runs import assert_refused, run_example

if TYPE_CHECKING:
    from collections.abc import Callable

UPRIGHT = 6  # an EXIF orientation


# -- pictures


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WIDTH", 240)
    monkeypatch.setattr(pictures, "HEIGHT", 180)


def drawn(folder: Path, seed: int) -> list[bytes]:
    folder.mkdir()
    return [file.read_bytes() for file in pictures.draw_pictures(folder, 2, seed)]


def test_the_same_seed_gives_the_same_pictures_to_the_byte(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a", seed=3) == drawn(tmp_path / "b", seed=3)


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    assert not set(drawn(tmp_path / "a", seed=3)) & set(drawn(tmp_path / "b", seed=4))


def test_some_pictures_were_taken_upright_and_some_were_not(tmp_path: Path) -> None:
    orientations = set()
    for file in pictures.draw_pictures(tmp_path, 12, seed=1):
        with Image.open(file) as picture:
            orientations.add(picture.getexif().get(0x0112))
    assert orientations == {None, UPRIGHT}


# -- the placeholder


def test_a_black_picture_has_the_hash_that_others_compute_for_it() -> None:
    assert blurhash([[(0.0, 0.0, 0.0)] * 8] * 6) == "L00000" + "fQ" * 11


def test_the_hash_carries_the_average_colour() -> None:
    white = blurhash([[(1.0, 1.0, 1.0)] * 8] * 6)
    assert white[2:6] == "TSUA"  # 0xFFFFFF to the base of 83


def test_the_hash_tells_left_from_right() -> None:
    rows = [[(x / 7, x / 7, x / 7) for x in range(8)]] * 6
    assert blurhash(rows) != blurhash([row[::-1] for row in rows])


# -- the handlers


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """1,000 × 500 pixels, to be shown turned by a quarter."""
    file = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT
    Image.linear_gradient("L").resize((1000, 500)).save(file, exif=exif)
    return file


def resize(file: Path, into: Path) -> dict[str, bytes]:
    into.mkdir(exist_ok=True)
    job = Job(os.fsencode(file), headers={"into": str(into)})
    work.resize(job.payload, cast("JobContext", SimpleNamespace(job=job)))
    return {made.name: made.read_bytes() for made in into.iterdir()}


def test_a_picture_is_made_in_all_sizes_as_the_camera_was_held(photo: Path, tmp_path: Path) -> None:
    sizes = {}
    for name in resize(photo, tmp_path / "made"):
        with Image.open(tmp_path / "made" / name) as picture:
            sizes[name] = picture.size
    assert sizes == {
        "photo-large.jpg": (400, 800),
        "photo-medium.jpg": (200, 400),
        "photo-small.jpg": (80, 160),
    }


def test_a_second_attempt_makes_the_same_files_and_leaves_no_others(
    photo: Path, tmp_path: Path
) -> None:
    assert resize(photo, tmp_path / "made") == resize(photo, tmp_path / "made")


def test_what_cannot_be_finished_does_not_touch_what_is_there(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = resize(photo, tmp_path / "made")

    def save(_: Image.Image, file: Path, *__: object, **___: object) -> None:
        file.write_bytes(b"half a pic")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space"):
        resize(photo, tmp_path / "made")
    assert {name: (tmp_path / "made" / name).read_bytes() for name in made} == made


def test_the_placeholder_is_made_of_the_picture_as_the_camera_was_held(
    photo: Path, tmp_path: Path
) -> None:
    with Image.open(photo) as picture:
        picture.save(tmp_path / "not-turned.jpg", exif=Image.Exif())
        picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.jpg")
    across = {
        file.stem: work.placeholder(os.fsencode(file))[6:8] for file in tmp_path.glob("*.jpg")
    }
    assert across["photo"] == across["turned"] != across["not-turned"]


HANDLERS: list[Callable[[Path, Path], object]] = [
    resize,
    lambda file, _: work.placeholder(os.fsencode(file)),
]
REASONS = {
    "cut-off.jpg": "image file is truncated",
    "not-a-picture.jpg": "cannot identify image file 'not-a-picture.jpg'",
    "too-large.png": "exceeds limit",
}


@pytest.mark.parametrize("handler", HANDLERS, ids=["resize", "placeholder"])
@pytest.mark.parametrize("name", REASONS)
def test_a_broken_picture_is_rejected_with_the_reason(
    handler: Callable[[Path, Path], object], name: str, tmp_path: Path
) -> None:
    [good] = pictures.draw_pictures(tmp_path, 1, seed=3)
    assert {file.name for file in pictures.draw_broken(tmp_path, good)} == REASONS.keys()
    with pytest.raises(RejectJobError, match=re.escape(REASONS[name])):
        handler(tmp_path / name, tmp_path / "made")


@pytest.mark.parametrize("handler", HANDLERS, ids=["resize", "placeholder"])
def test_a_file_that_cannot_be_read_is_not_rejected_but_tried_again(
    handler: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        handler(tmp_path / "absent.jpg", tmp_path / "made")


# -- settings


def test_a_setting_s_queue_runs_handlers_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(pipeline, "JobQueue", lambda config, **_: configs.append(config))
    for setting in pipeline.settings(workers=5):
        pipeline.Pipeline(setting, tmp_path / str(setting))
    assert [(config.executor, config.num_workers) for config in configs] == [
        ("thread", 1),
        ("thread", 5),
        ("process", 1),
        ("process", 5),
    ]


# -- accounts

ONE, TWO = Setting("thread", 1), Setting("process", 2)


@pytest.fixture
def made(photo: Path, tmp_path: Path) -> Made:
    """What comes of a photo, and of a file that is none."""
    dead = {"resize none.jpg, broken": "no", "placeholder none.jpg, broken": "no"}
    return Made(resize(photo, tmp_path / "made"), {"photo.jpg": "L0"}, dead)


def account(photo: Path, first: Made, second: Made) -> Audit:
    return audit([photo], [Path("none.jpg")], {ONE: first, TWO: second})


def test_settings_that_made_the_same_and_all_of_it_pass(photo: Path, made: Made) -> None:
    result = account(photo, made, made)
    assert result.ok
    assert result.made == 8


def test_a_file_that_is_not_there_is_missing(photo: Path, made: Made) -> None:
    files = {name: made.files[name] for name in made.files if name != "photo-small.jpg"}
    result = account(photo, made, replace(made, files=files))
    assert result.missing == {"2 processes: photo-small.jpg"}
    assert not result.ok


def test_a_placeholder_that_is_not_there_is_missing(photo: Path, made: Made) -> None:
    result = account(photo, made, replace(made, placeholders={}))
    assert result.missing == {"2 processes: photo.jpg"}
    assert not result.ok


@pytest.mark.parametrize("content", [b"no picture", "photo-small.jpg"])
def test_a_file_of_another_size_is_wrong(photo: Path, made: Made, content: bytes | str) -> None:
    other = content if isinstance(content, bytes) else made.files[content]
    bad = replace(made, files=made.files | {"photo-large.jpg": other})
    result = account(photo, bad, bad)
    assert result.wrong == {"1 thread: photo-large.jpg", "2 processes: photo-large.jpg"}
    assert not result.ok


def test_a_placeholder_that_another_setting_made_otherwise_is_seen(photo: Path, made: Made) -> None:
    result = account(photo, made, replace(made, placeholders={"photo.jpg": "L1"}))
    assert result.different == {"2 processes: photo.jpg"}
    assert not result.ok


def test_a_broken_picture_that_was_not_rejected_is_seen(photo: Path, made: Made) -> None:
    result = account(photo, made, replace(made, dead={"resize none.jpg, broken": "no"}))
    assert result.undead == {"2 processes: placeholder none.jpg, broken"}
    assert not result.ok


def test_a_good_picture_that_was_rejected_is_seen(photo: Path, made: Made) -> None:
    dead = made.dead | {"resize photo.jpg, round 1": "no"}
    result = account(photo, made, replace(made, dead=dead))
    assert result.undead == {"2 processes: resize photo.jpg, round 1"}
    assert not result.ok


# -- advice


def advice(threads: float, processes: float, computing: float = 1.0) -> str:
    """What is said where one thread does 10 pictures a second."""
    row = {
        Setting("thread", 1): Measured(10.0, computing),
        Setting("thread", 2): Measured(threads, computing / 2),
        Setting("process", 1): Measured(10.0, computing),
        Setting("process", 2): Measured(processes, computing),
    }
    return finding("work", row)


def test_processes_are_advised_where_they_do_clearly_more() -> None:
    assert advice(10.0, 19.0) == (
        'work: 2 threads did 1.00 × the work of one, 2 processes 1.90 ×. Take "process".'
    )


def test_threads_are_advised_where_processes_do_no_more() -> None:
    assert 'Take "thread"' in advice(18.0, 19.0)


def test_nothing_is_advised_where_neither_does_more() -> None:
    assert "Neither" in advice(7.0, 11.0)


def test_nothing_is_advised_where_other_programs_have_the_cores() -> None:
    assert "for only 60% of its time" in advice(10.0, 19.0, computing=0.6)


def test_a_rate_is_that_of_the_median_round_and_computing_that_of_all_attempts() -> None:
    attempts = [Timed(None, 1.0, 0.5), Timed(None, 3.0, 2.5)] * 3
    made = Made(seconds={"resize": [9.0, 4.0, 2.0]}, attempts={"resize": attempts})
    assert measured(made, "resize") == Measured(rate=2 / 4.0, computing=0.75)


def test_a_handler_s_times_are_its_own(photo: Path) -> None:
    attempt = timed.placeholder(os.fsencode(photo))
    assert attempt.result == work.placeholder(os.fsencode(photo))
    assert 0 < attempt.cpu_seconds <= attempt.wall_seconds + 0.01


# -- the command


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pictures", "1"), ("--workers", "many"), ("--rounds", "0"), ("--seed", "x")],
)
def test_a_bad_option_is_refused_by_name_and_value(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command.main, option, value, capsys)


@pytest.mark.parametrize(("missing", "code"), [(frozenset[str](), 0), (frozenset({"a"}), 1)])
def test_exit_code_tells_of_missing_pictures(
    missing: frozenset[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = frozenset[str]()
    result = Audit(1, {}, missing, wrong=none, different=none, undead=none)
    settings = [Setting(name, n) for name in ("thread", "process") for n in (1, 2)]
    seconds = {"resize": [1.0], "placeholder": [1.0]}
    attempts = {name: [Timed(None, 1.0, 1.0)] for name in seconds}
    each = Made(seconds=seconds, attempts=attempts)
    monkeypatch.setattr(command, "run", lambda *_: dict.fromkeys(settings, each))
    monkeypatch.setattr(command, "audit", lambda *_: result)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main(["--pictures", "2"]) == code


@pytest.mark.slow
def test_threads_and_processes_make_the_same_pictures(tmp_path: Path) -> None:
    _, cells = run_example("images", "--pictures", "2", "--rounds", "1", home=tmp_path)
    measured = [tuple(row[1:4]) for row in cells if len(row) > 6]
    assert measured == [
        (name, executor, workers)
        for name in ("resize", "placeholder")
        for executor in ("thread", "process")
        for workers in ("1", "2")
    ]
    counts = {row[1]: int(row[2]) for row in cells if len(row) == 5 and row[2].isdecimal()}
    assert counts["made"] == 4 * 2 * 4  # settings, pictures, three sizes and a placeholder
    assert counts["dead-lettered"] == 6
    assert counts["missing"] == counts["of a wrong size"] == 0
    assert counts["not the same everywhere"] == counts["wrongly dead or alive"] == 0
