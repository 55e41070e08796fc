"""What another account of the machine, and whoever reaches the page, learns of a running `up`: no secret."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import nats
import nats.errors
import psutil
import pytest

from tests.support.servers.up import stop, up
from tests.support.services import scratch_directory

SECRETS = ("postgres.password", "nats.token", "http.token")
STRANGER = 1
"""Another account than that of root or nobody."""
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


def test_no_page_has_a_secret(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        told = pages(endpoints["http_url"])
        secrets = [(state_dir / name).read_text().strip() for name in SECRETS]
        assert stop(process) == 0
    assert len(told) > 8, "the pages link to each other"
    for path, text in told.items():
        assert not any(secret in text for secret in secrets), path
        assert str(state_dir / "postgres.password") not in text, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_another_account_reads_nothing_and_ends_nothing() -> None:
    with scratch_directory() as parent:
        parent.chmod(0o755)
        folder = parent / "registry"
        with up(folder) as (process, _):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            pids = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
            names = [str(path.relative_to(folder)) for path in folder.iterdir()]
            assert {*SECRETS, "endpoints.json"} <= {*names}
            looked = subprocess.run(
                [sys.executable, "-I", "-S", "-c", LOOK, str(folder), *names, *map(str, pids)],
                capture_output=True,
                text=True,
                check=True,
            )
            assert looked.stdout == ""
            assert stop(process) == 0


async def test_who_has_no_token_is_nobody_for_nats(state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        address = endpoints["nats_url"].rpartition("@")[2]
        for url in (f"nats://{address}", f"nats://guess@{address}", f"nats://u:p@{address}"):
            with pytest.raises((nats.errors.Error, OSError)):
                await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=0, connect_timeout=5)
        assert stop(process) == 0
