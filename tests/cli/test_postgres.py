"""`jobqueue postgres …`: the tables are made, and what is wrong is told."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue import Job
from jobqueue.cli import main

pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
from jobqueue.postgres import PostgresConfig


@pytest.fixture
def empty(databases: Any) -> str:
    """A database without the tables."""
    made: str = databases.make(installed=False)
    return made


def test_the_tables_are_made_once_and_a_queue_can_be_opened(
    empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["postgres", "verify", empty]) == 4
    assert "jobqueue postgres install" in capsys.readouterr().err
    assert main(["postgres", "install", empty]) == 0
    assert capsys.readouterr().out.startswith(f"{empty}: the tables of jobqueue are there")
    with PostgresConfig(empty).open({"len": len}) as queue:
        handle = queue.enqueue(Job(b"abc", handler="len"))
        for action in ("install", "upgrade", "verify"):  # under a queue that runs
            assert main(["postgres", action, empty]) == 0
        assert handle.result(10) == 3


def test_the_environment_may_name_the_database(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBQUEUE_DSN", dsn)
    assert main(["postgres", "verify", "--json"]) == 0
    assert f'"database":"{dsn}"' in capsys.readouterr().out
    monkeypatch.delenv("JOBQUEUE_DSN")
    assert main(["postgres", "verify"]) == 2
    assert "set JOBQUEUE_DSN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("postgresql://shop:secret@127.0.0.1:1/shop", 5),
        ("postgresql://shop:secret@[nowhere/shop", 2),
        ("postgresql://127.0.0.1:1/shop?user=shop&password=secret", 5),
    ],
)
def test_what_is_wrong_is_told_without_the_password(
    given: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["postgres", "install", given]) == code
    told = "".join(capsys.readouterr())
    assert told.startswith("jobqueue: ")
    assert "secret" not in told


def test_a_wrong_password_and_missing_rights_are_told(
    databases: Any, empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    databases.execute("CREATE ROLE visitor LOGIN PASSWORD 'secret'")
    visitor = empty.replace("postgres@", "visitor:secret@")
    try:
        assert main(["postgres", "install", visitor]) == 4
        told = capsys.readouterr().err
        assert "permission denied" in told
        assert "secret" not in told
    finally:
        databases.execute("DROP ROLE visitor")
