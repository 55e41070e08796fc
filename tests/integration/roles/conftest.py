"""A server of these tests' own: roles belong to the whole server, and are made and dropped here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from publisher.embedded.postgres import postgres
from tests.support.commandline import CommandLine, command_line
from tests.support.databases import name_of
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated, no_roles_afterwards
from tests.support.services import POSTGRES_SETTINGS, scratch_directory

ROLES = ("publisher", "applier", "reader", "writer")


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


@pytest.fixture
def urls(cluster: str) -> Iterator[dict[str, str]]:
    """The database as its owner (`owner`), and as a login for each role."""
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser):
        with connect(as_superuser) as conn:
            conn.execute(f'REVOKE CONNECT ON DATABASE "{name_of(as_owner)}" FROM PUBLIC'.encode())
        yield from _logins(cluster, as_owner, as_superuser)


def _logins(cluster: str, as_owner: str, as_superuser: str) -> Iterator[dict[str, str]]:
    with (
        login(cluster, "imi_publisher") as publisher,
        login(cluster, "imi_applier") as applier,
        login(cluster, "imi_reader") as reader,
        login(cluster, "imi_writer") as writer,
        connect(as_superuser) as conn,
    ):
        members = dict(zip(ROLES, (publisher, applier, reader, writer), strict=True))
        for member in members.values():
            conn.execute(f'GRANT CONNECT ON DATABASE "{name_of(as_owner)}" TO "{member.name}"'.encode())
        yield {"owner": as_owner} | {name: as_login(as_owner, member) for name, member in members.items()}
        for member in members.values():
            conn.execute(f'REVOKE CONNECT ON DATABASE "{name_of(as_owner)}" FROM "{member.name}"'.encode())
