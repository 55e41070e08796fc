"""A server of these tests' own: roles belong to the whole server, and are made and dropped here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from publisher.embedded.postgres import postgres
from tests.support.commandline import CommandLine, command_line
from tests.support.roles.cluster import no_roles_afterwards
from tests.support.services import POSTGRES_SETTINGS, scratch_directory


@pytest.fixture(scope="session")
def own_server() -> Iterator[str]:
    """PostgreSQL as a superuser, without a registry on it."""
    with scratch_directory() as directory, postgres(directory, settings=POSTGRES_SETTINGS) as server:
        yield server.url


@pytest.fixture
def cluster(own_server: str) -> Iterator[str]:
    """The server of `own_server` without any of our roles."""
    with no_roles_afterwards(own_server) as url:
        yield url


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys)
