"""A registry whose events flow, and a mirror of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.databases import Role, new_database
from tests.support.mirror.mirrors import Mirror
from tests.support.world import World


@pytest.fixture
def mirror(world: World, admin_url: str, owner: Role, template_database: str) -> Iterator[Mirror]:
    with new_database(admin_url, owner, template_database) as database:
        yield Mirror(world, database)


@pytest.fixture
async def source(world: World) -> AsyncIterator[World]:
    """The registry, with all that serves mirrors."""
    async with world.relay(), world.history(), world.queries():
        yield world


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(monkeypatch, capsys)
