"""A replica may run on another version of PostgreSQL than its source: so a registry moves to a newer one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from publisher.embedded.binaries import postgres_binaries
from tests.support import histories
from tests.support.commandline import CommandLine
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.replica.commands import Commands
from tests.support.replica.pairs import pair, sites
from tests.support.services import scratch_directory


@pytest.mark.parametrize(
    ("source", "replica"),
    [(binaries_of_14, postgres_binaries), (postgres_binaries, binaries_of_14)],
    ids=["from 14", "to 14"],
)
def test_a_replica_of_another_version_is_its_source_and_takes_over(
    cli: CommandLine, source: Callable[[], Path], replica: Callable[[], Path]
) -> None:
    with scratch_directory() as folder, sites(folder, source(), replica()) as servers, pair(servers) as registries:
        commands = Commands(cli, registries)
        histories.write(registries.source, 3, 3, 2)
        assert commands.source("publish").code == 0
        done = commands.create()
        assert done.code == 0, done.err
        registries.assert_same()
        histories.write(registries.source, 2, 2, 1)
        registries.at_source("DELETE FROM projects WHERE id = (SELECT max(id::text)::uuid FROM projects)")
        registries.assert_same()
        assert commands.replica("status").code == 0

        done = commands.replica("promote", "--yes", "--force")
        assert done.code == 0, done.err
        histories.write(registries.replica, 1, 1, 1)
        assert registries.at_replica("SELECT * FROM differing_counts()") == []
