"""Nothing that stands in a log can harm a terminal."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.cli.screen import (
    PAYLOAD_CHARACTERS_MAX,
    Screen,
    age_text,
    payload_text,
    printable,
    size_text,
    time_text,
)

HARMFUL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größe, 日本", "plain, größe, 日本"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\rd\0e", "a\\nb\\tc\\rd\\x00e"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2028\x85", "\\u2028\\x85"),
        ("\ud800", "\\ud800"),
        ("[bold]no markup[/]", "[bold]no markup[/]"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_whatever_the_text_nothing_harmful_is_left(text: str) -> None:
    assert not {unicodedata.category(c) for c in printable(text)} & HARMFUL


def test_text_is_shown_as_text_with_its_size_in_bytes() -> None:
    assert payload_text("größe\n", b"", full=False).plain == "payload (8 B) größe\\n"


def test_other_bytes_are_shown_in_base64() -> None:
    assert payload_text("", b"\xff\x00", full=False).plain == "payload (2 B, base64) /wA="


@pytest.mark.parametrize("size", [PAYLOAD_CHARACTERS_MAX, PAYLOAD_CHARACTERS_MAX + 1])
def test_a_long_text_is_cut_unless_all_of_it_is_asked_for(size: int) -> None:
    cut = payload_text("x" * size, b"", full=False).plain
    assert cut.endswith(" … (--full shows all of it)") is (size > PAYLOAD_CHARACTERS_MAX)
    assert cut.count("x") == PAYLOAD_CHARACTERS_MAX
    assert payload_text("x" * size, b"", full=True).plain == f"payload ({size} B) {'x' * size}"


def test_long_bytes_are_cut_unless_all_of_them_are_asked_for() -> None:
    assert payload_text("", b"\xff" * 151, full=False).plain == (
        f"payload (151 B, base64) {'/' * 200} … (--full shows all of it)"
    )
    assert (
        len(payload_text("", b"\xff" * 151, full=True).plain)
        == len("payload (151 B, base64) ") + 204
    )


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (7 << 30, "7.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (5 << 50, "5,120.0 TiB"),
    ],
)
def test_sizes_have_a_unit(size: int, shown: str) -> None:
    assert size_text(size) == shown


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (1764000000.9, "2025-11-24 16:00:00Z"),
        (0.0, "1970-01-01 00:00:00Z"),
        (1.7e308, "1.7e+308"),
        (-1e15, "-1000000000000000.0"),
    ],
)
def test_a_time_that_no_calendar_has_is_shown_as_a_number(time: float, shown: str) -> None:
    assert time_text(time) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5.0, "0.0 s"),
        (59.9, "59.9 s"),
        (90.0, "1.5 min"),
        (7200.0, "2.0 h"),
        (864000.0, "10.0 days"),
    ],
)
def test_an_age_has_a_unit(seconds: float, shown: str) -> None:
    assert age_text(seconds) == shown


def test_objects_for_scripts_are_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(as_json=True).tell({"id": "größe\x1b[2J\ud800"})
    assert capsys.readouterr().out == '{"id":"gr\\u00f6\\u00dfe\\u001b[2J\\ud800"}\n'


def test_a_long_line_is_not_folded_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Screen(as_json=False).show(payload_text("x" * 150, b"", full=False))
    assert "x" * 150 in capsys.readouterr().out
