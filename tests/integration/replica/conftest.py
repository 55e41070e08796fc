"""Two servers for all tests of a module, and a pair of registries on them for each."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.support.commandline import CommandLine, command_line
from tests.support.databases import Role
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import Pair, Sites, pair, sites
from tests.support.services import scratch_directory


@pytest.fixture(scope="package")
def servers() -> Iterator[Sites]:
    with scratch_directory() as folder, sites(folder) as running:
        yield running


@pytest.fixture
def registries(servers: Sites) -> Iterator[Pair]:
    """A registry, and one that is no replica of it yet."""
    with pair(servers) as found:
        yield found


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def commands(cli: CommandLine, registries: Pair) -> Commands:
    return Commands(cli, registries)


@pytest.fixture
def following(registries: Pair, commands: Commands) -> Pair:
    """A replica that has what its source has."""
    assert commands.source("publish").code == 0
    done = commands.create()
    assert done.code == 0, done.err
    return registries


@pytest.fixture
def login(servers: Sites, registries: Pair) -> Iterator[Role]:
    """A login of the source's server that may replicate, and has no rights."""
    role = Role(f"replica_{registries.slot}", "s3cret")
    named = sql.Identifier(role.name)
    with psycopg.connect(registries.source, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION PASSWORD {}").format(named, sql.Literal(role.password)))
        try:
            yield role
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(named))
            admin.execute(sql.SQL("DROP ROLE {}").format(named))
