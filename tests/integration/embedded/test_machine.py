"""What another account of the machine, and whoever reaches the page, learns of a running `up`: no secret."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from registry.client import RegistryClient
from tests.support.servers.up import stop, up
from tests.support.services import scratch_directory

SECRETS = ("postgres.password", "nats.token", "http.token")
STRANGER = 1
"""Another account than that of root or nobody."""
CONNECTIONS = 300
"""To each port: more than the pages take at once."""
LOOK = """
import os, socket, sys
os.setgroups([]); os.setgid(1); os.setuid(1)
folder, pids = sys.argv[1], sys.argv[2:]
for path in [folder, *(os.path.join(folder, name) for name in sys.argv[2:] if not name.isdecimal())]:
    try:
        print("read", path, os.listdir(path) if os.path.isdir(path) else open(path).read())
    except OSError:
        pass
for pid in pids:
    for part in ("environ", "mem", "fd"):
        try:
            path = f"/proc/{pid}/{part}"
            print("read", path, os.listdir(path) if part == "fd" else open(path, "rb").read(10))
        except OSError:
            pass
    try:
        os.kill(int(pid), 15)
        print("ended", pid)
    except (OSError, ValueError):
        pass
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(f"{folder}/run/.s.PGSQL.5432")
    print("connected")
except OSError:
    pass
"""


class Running(NamedTuple):
    """An `up`, and where it is."""

    folder: Path
    pid: int
    endpoints: dict[str, str]


def pages(http_url: str, most: int = 60) -> dict[str, str]:
    """What the page and all that it links to say, by path."""
    found: dict[str, str] = {}
    waiting = ["/", "/status", "/metrics", "/healthz", "/readyz"]
    while waiting and len(found) < most:
        path = waiting.pop(0)
        if path in found:
            continue
        try:
            with urlopen(http_url + path, timeout=20) as answer:  # noqa: S310  # our own
                found[path] = answer.headers.as_string() + answer.read(1_000_000).decode(errors="replace")
        except HTTPError as error:
            found[path] = error.read().decode(errors="replace")
        waiting += re.findall(r'href="(/[^"#]*)"', found[path])
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A running `up` in a folder that it made, below one that everybody may enter."""
    with scratch_directory() as parent:
        parent.chmod(0o755)
        folder = parent / "registry"
        with up(folder) as (process, endpoints):
            yield Running(folder, process.pid, endpoints)
            assert stop(process) == 0


def test_no_page_has_a_secret(running: Running) -> None:
    told = pages(running.endpoints["http_url"])
    secrets = [(running.folder / name).read_text().strip() for name in SECRETS]
    assert len(told) > 8, "the pages link to each other"
    for path, text in told.items():
        assert not any(secret in text for secret in secrets), path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_another_account_reads_nothing_and_ends_nothing(running: Running) -> None:
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700
    pids = [running.pid, *(child.pid for child in psutil.Process(running.pid).children(recursive=True))]
    names = [path.name for path in running.folder.iterdir()]
    assert {*SECRETS, "endpoints.json"} <= {*names}
    looked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOOK, str(running.folder), *names, *map(str, pids)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert looked.stdout == ""


@pytest.mark.parametrize("options", [{}, {"auth_token": "guess"}, {"user": "operator", "pass": "word"}])
def test_who_has_no_token_is_nobody_for_nats(running: Running, options: dict[str, str]) -> None:
    host, port = running.endpoints["nats_url"].rpartition("@")[2].split(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port)), timeout=20) as client, client.makefile("rwb") as lines:
        assert lines.readline().startswith(b"INFO")
        lines.write(f"CONNECT {json.dumps({'verbose': False} | options)}\r\nPING\r\n".encode())
        lines.flush()
        assert lines.readline() == b"-ERR 'Authorization Violation'\r\n"


async def test_who_holds_connections_and_says_nothing_keeps_no_event_back(running: Running) -> None:
    """Another account reaches the ports on loopback: of NATS, and of the pages."""
    with ExitStack() as held:
        for url in (running.endpoints["nats_url"], running.endpoints["http_url"]):
            host, _, port = url.rpartition("//")[2].rpartition("@")[2].partition(":")
            for _ in range(CONNECTIONS):
                held.enter_context(socket.create_connection((host, int(port)), timeout=60))
        nats_url = running.endpoints["nats_url"]
        async with RegistryClient.connect(nats_url) as client, client.tail(entity="project") as events:
            with psycopg.connect(running.endpoints["database_url"]) as writer:
                writer.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
            async with asyncio.timeout(120):
                assert (await anext(events)).event.name == "project.registered"
