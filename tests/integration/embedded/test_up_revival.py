"""An embedded server that dies under `up` is started again, where it was and on what it had; and not without end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import pytest

from publisher.embedded.state_dir import try_lock
from tests.support.audit import audit, wait_until_published
from tests.support.servers.up import server_of, servers_of, stop, up
from tests.support.services import wait_until
from tests.support.workload import writing

WAIT_SECONDS = 90.0
NATS, POSTGRES = "nats-server", "postgres"


def page(http_url: str, path: str) -> str:
    """What a page says, be it red or green."""
    try:
        with urlopen(http_url + path, timeout=WAIT_SECONDS) as answer:  # noqa: S310  # our own page
            return str(answer.read().decode())
    except HTTPError as refused:
        with refused:
            return refused.read().decode()


def nats_server_dies(state_dir: Path) -> None:
    server = server_of(state_dir, NATS)
    server.kill()
    server_of(state_dir, NATS, server)


def postgresql_dies(state_dir: Path) -> None:
    server = server_of(state_dir, POSTGRES)
    server.kill()
    server_of(state_dir, POSTGRES, server)


def both_die(state_dir: Path) -> None:
    servers = {name: server_of(state_dir, name) for name in (NATS, POSTGRES)}
    for server in servers.values():
        server.kill()
    for name, server in servers.items():
        server_of(state_dir, name, server)


def a_guard_dies(state_dir: Path) -> None:
    server = server_of(state_dir, NATS)
    server.parent().kill()
    server_of(state_dir, NATS, server)


def a_backend_dies(state_dir: Path) -> None:
    """PostgreSQL starts over by itself."""
    server = server_of(state_dir, POSTGRES)
    is_killed = False
    for each in server.children():
        with suppress(psutil.NoSuchProcess):  # they come and go
            if not is_killed and "imi imi_registry" in " ".join(each.cmdline()):
                each.kill()
                is_killed = True
    assert is_killed
    assert server.is_running()


DEATHS: list[Callable[[Path], None]] = [
    nats_server_dies,
    postgresql_dies,
    both_die,
    a_guard_dies,
    a_backend_dies,
]


async def test_what_is_killed_comes_back_and_nothing_is_lost_doubled_or_reordered(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        database, broker = endpoints["database_url"], endpoints["nats_url"]
        async with writing(database, writers=3) as load:
            for death in DEATHS:
                await load.reach(commits=20)
                await asyncio.to_thread(death, state_dir)
            await load.reach(commits=20)
        await wait_until_published(database, "IMI_EVENTS", WAIT_SECONDS)
        (await audit(database, broker, "imi")).assert_clean(at_least=40 * len(DEATHS))

        told = await asyncio.to_thread(page, endpoints["http_url"], "/readyz")
        for name in ("nats-server", "PostgreSQL"):
            assert f"{name} died at " in told
        assert "killed by signal 9 (SIGKILL)" in told
        assert "it was started again" in told
        metrics = await asyncio.to_thread(page, endpoints["http_url"], "/metrics")
        assert "imi_embedded_servers_interruptions_total 5.0" in metrics
        assert stop(process) == 0
        lines = [json.loads(line) for line in process.communicate()[1].splitlines() if line.startswith("{")]
        back = [line["server"] for line in lines if line["event"] == "embedded server started again"]
        assert sorted(back) == ["PostgreSQL", "PostgreSQL", "nats-server", "nats-server", "nats-server"]
    assert servers_of(state_dir) == []


@contextmanager
def dying(process: subprocess.Popen[str], server: psutil.Process) -> Iterator[None]:
    """Kill a server, and let `up` notice at the end of the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        guard = server.parent()
        server.kill()
        wait_until(lambda: guard.status() == psutil.STATUS_ZOMBIE, WAIT_SECONDS)  # nobody looks at its end yet
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_one_that_cannot_be_started_again_ends_it_with_a_reason(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        with dying(process, server_of(state_dir, NATS)):
            somebody = socket.create_server(("127.0.0.1", urlsplit(endpoints["nats_url"]).port or 0))
        with somebody:
            assert process.wait(2 * WAIT_SECONDS) == 3
        (reason,) = [line for line in process.communicate()[1].splitlines() if line.startswith("imi-registry: ")]
    assert "nats-server ended, and cannot be started again: nats-server did not start: " in reason
    assert "address already in use" in reason
    assert servers_of(state_dir) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)], ids=["SIGTERM", "SIGKILL"])
def test_who_ends_it_while_a_server_is_being_started_again_leaves_none(
    state_dir: Path, number: signal.Signals, status: int
) -> None:
    with up(state_dir) as (process, endpoints):
        held = os.open(state_dir / "nats.lock", os.O_RDWR)
        try:
            # given a start that waits for what is left of the server before it
            with dying(process, server_of(state_dir, NATS)):
                wait_until(lambda: try_lock(held), WAIT_SECONDS)
            wait_until(lambda: "it is being started again" in page(endpoints["http_url"], "/readyz"), WAIT_SECONDS)
            # when
            assert stop(process, number) == status
        finally:
            os.close(held)
        # then
        wait_until(lambda: servers_of(state_dir) == [], WAIT_SECONDS)
