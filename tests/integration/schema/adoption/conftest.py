"""What the tests of this room have in common: the original schema with data in it, and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.before import original
from tests.support.commandline import CommandLine, command_line

Conn = psycopg.Connection[Any]


@pytest.fixture
def db(empty_database: str) -> Iterator[Conn]:
    """The original schema with data that needs no decision."""
    original.create(empty_database, "convertible")
    with psycopg.connect(empty_database, autocommit=True) as conn:
        yield conn


@pytest.fixture
def more(db: Conn) -> Callable[[str], None]:
    """Adds one of the other sets of data."""
    return lambda name: original.add(db, (original.FILES / f"{name}.sql").read_text())


@pytest.fixture
def cli(empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys, DATABASE_URL=empty_database)
