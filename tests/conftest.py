"""Fixtures: one PostgreSQL and one NATS for the run; a database, a client and a stream prefix of its own per test."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats as nats_py
import psycopg
import pytest
from _pytest.junitxml import xml_key
from nats.aio.client import Client

from docs.commit import checked_out
from registry.database import migrate, months
from registry.profiles import bloodbank
from tests.support import services
from tests.support.databases import Role, name_of, new_database, plain_role, url_of
from tests.support.environment import forget_settings
from tests.support.servers.scratch import scratch_root
from tests.support.world import World

log = logging.getLogger(__name__)

forget_settings(os.environ)
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(scratch_root()))  # of `tmp_path`

# A background job of a shell ignores SIGINT, one under nohup SIGHUP, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--services", choices=services.CHOICES, default="auto", help="where PostgreSQL and NATS come from")
    parser.addoption("--long", action="store_true", help="also run the long form of fault and load tests")
    parser.addoption("--by-month", action="store_true", help="in databases that keep activities by month")


def pytest_sessionstart(session: pytest.Session) -> None:
    report = session.config.stash.get(xml_key, None)
    if report is not None:  # --junitxml: what promises/own_tests.py records of it
        report.add_global_property("commit", checked_out())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long; run with --long"))


def pytest_collection_finish() -> None:
    gc.freeze()  # all tests there are: Python's collector need not look at them again and again


@pytest.fixture(scope="session")
def admin_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """PostgreSQL as a role that may create databases."""
    with services.database_server(pytestconfig.getoption("--services")) as url:
        yield url


@pytest.fixture(scope="session")
def nats_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """A nats-server with JetStream."""
    with services.nats_server(pytestconfig.getoption("--services")) as url:
        yield url


@pytest.fixture(scope="session")
def owner(admin_url: str) -> Iterator[Role]:
    """Who owns the databases of the tests, and connects to them: a role that may log in and nothing else."""
    with plain_role(admin_url) as role:
        yield role


@pytest.fixture(scope="session")
def template_database(pytestconfig: pytest.Config, admin_url: str, owner: Role) -> Iterator[str]:
    """Name of a migrated database that others are cloned from; nobody connects to it."""
    with new_database(admin_url, owner) as url:
        with psycopg.connect(url) as conn:
            migrate.apply(conn)
            if pytestconfig.getoption("--by-month"):
                months.move(conn, by_month=True)
        yield name_of(url)


@pytest.fixture
def database(request: pytest.FixtureRequest, admin_url: str, owner: Role, template_database: str) -> Iterator[str]:
    """URL of a fresh, migrated database, as its owner; as a superuser in tests that are marked so."""
    with new_database(admin_url, owner, template_database) as url:
        yield _as_marked(request, admin_url, url)


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, admin_url: str, owner: Role) -> Iterator[str]:
    """URL of a fresh database without anything in it, as its owner; as a superuser in tests that are marked so."""
    with new_database(admin_url, owner) as url:
        yield _as_marked(request, admin_url, url)


def _as_marked(request: pytest.FixtureRequest, admin_url: str, url: str) -> str:
    is_superuser = request.node.get_closest_marker("superuser") is not None
    return url_of(admin_url, name_of(url)) if is_superuser else url


@pytest.fixture
async def prefix(nats_url: str) -> AsyncIterator[str]:
    """A subject prefix of this test's own; streams named after it are deleted afterwards."""
    name = f"t{secrets.token_hex(5)}"
    yield name
    client = await _connect(nats_url)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            if stream.config.name.startswith(f"{name.upper()}_"):
                await jetstream.delete_stream(stream.config.name)
    finally:
        await client.close()


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Client]:
    """A connected client."""
    client = await _connect(nats_url)
    yield client
    await client.close()


@pytest.fixture
def world(database: str, nats_url: str, prefix: str, nats: Client) -> World:
    """All of the above, and what can be done with it."""
    return World(database, nats_url, prefix, nats)


@pytest.fixture
def second(world: World, admin_url: str, owner: Role, template_database: str) -> Iterator[World]:
    """The same server and prefix with another fresh, migrated database."""
    with new_database(admin_url, owner, template_database) as url:
        yield world.at(database=url)


@pytest.fixture(params=["imi", "bloodbank"])
async def profile(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Each naming profile: settings that the test loads have it, and the stream that others create is there.

    All events go into it. What its contract has no name for is told apart in the tests about that.
    """
    monkeypatch.setenv("IMI_PROFILE", request.param)
    monkeypatch.setenv("IMI_BLOODBANK_PROPOSED", "true")
    await world.create_shared_stream()
    yield request.param
    if request.param == "bloodbank":
        await world.nats.jetstream().delete_stream(bloodbank.STREAM)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """An empty directory for embedded servers of this test's own."""
    with services.scratch_directory() as directory:
        yield directory


async def _connect(url: str) -> Client:
    async def log_error(error: Exception) -> None:
        log.warning("nats: %r", error)

    return await nats_py.connect(url, error_cb=log_error)
