"""A supervised server: what a revival does not do, and how it is given up."""

from __future__ import annotations

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from publisher.embedded import supervised
from publisher.embedded.binaries import nats_binary
from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from publisher.embedded.supervised import Supervised
from registry.errors import Unavailable
from tests.support.servers.embedded import QUICK, one
from tests.support.services import wait_until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "AGAIN_SECONDS", (0.01, 0.02))


def kill(server: Supervised) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_running(), 60)


def test_it_comes_back_with_its_data_unless_that_is_gone(state_dir: Path) -> None:
    with Supervised(partial(postgres, state_dir, settings=QUICK)) as server:
        one(server.url, "SELECT lo_create(42)")
        kill(server)
        server.revive()
        assert one(server.url, "SELECT count(*) FROM pg_largeobject_metadata") == 1

        kill(server)
        (state_dir / "postgres").rename(state_dir / "elsewhere")
        with pytest.raises(Unavailable, match=r"cannot be started again: .*the data of its PostgreSQL is gone"):
            server.revive()
    assert not (state_dir / "postgres").exists()


def test_one_that_dies_over_and_over_is_given_up_with_the_reason(state_dir: Path) -> None:
    with Supervised(partial(nats_server, state_dir)) as server:
        for _ in range(supervised.MOST_DEATHS - 1):
            kill(server)
            server.revive()
        kill(server)
        reason = f'nats-server ended: killed by signal 9 (SIGKILL); its log is "{state_dir}/nats.log"'
        with pytest.raises(Unavailable, match=f"^{re.escape(reason)}; it was the 5th time within 60 s$"):
            server.revive()
        assert not server.is_running()


def test_deaths_of_long_ago_do_not_count(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "DEATHS_SECONDS", 0.0)
    with Supervised(partial(nats_server, state_dir)) as server:
        for _ in range(supervised.MOST_DEATHS + 1):
            kill(server)
            server.revive()
        assert server.is_running()


def test_it_does_not_come_back_elsewhere(state_dir: Path) -> None:
    with Supervised(partial(nats_server, state_dir)) as server:
        kill(server)
        (state_dir / "nats.port").unlink()
        with pytest.raises(Unavailable, match="it has another port or secret than before"):
            server.revive()
        assert not server.is_running()


def test_a_start_that_takes_long_is_given_up_with_the_block(state_dir: Path) -> None:
    # given a server that hangs when it is started the second time
    program, mark = state_dir / "program", state_dir / "hangs"
    program.write_text(f'#!/bin/sh\n[ -e "{mark}" ] && exec sleep 1000\nexec "{nats_binary()}" "$@"\n')
    program.chmod(0o700)
    others = {each.pid for each in psutil.Process().children(recursive=True)}

    def below() -> list[str]:
        found = [each for each in psutil.Process().children(recursive=True) if each.pid not in others]
        return [each.name() for each in found if each.status() != psutil.STATUS_ZOMBIE]

    with ThreadPoolExecutor() as threads, Supervised(partial(nats_server, state_dir, binary=program)) as server:
        mark.touch()
        kill(server)
        revived = threads.submit(server.revive)
        wait_until(lambda: "sleep" in below(), 60)
        # when
        server.give_up()
        # then long before it is given up for its own sake
        with pytest.raises(Unavailable, match="given up while it started"):
            revived.result(60)
    assert below() == []
