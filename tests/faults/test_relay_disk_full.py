"""NATS runs out of disk under load; once there is room again, everything is published."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher import embedded
from tests.audit import assert_exactly_once
from tests.relays import running_relay

EVENT_BYTES = 100_000
SMALL, LARGE = "8m", "128m"


@pytest.fixture
def small_disk(state_dir: Path) -> Iterator[Path]:
    """A state directory whose NATS data is on a file system of a few MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    store = state_dir / "nats"
    store.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", store], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted: {mounted.stderr.strip()}")
    yield state_dir
    subprocess.run(["umount", "--lazy", store], check=True)


def describe(database: str, times: int) -> None:
    """`times` events of about `EVENT_BYTES`, each in its own transaction, all of one row."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('p', 'git@github.com:owner/p.git', '/p')"
            " ON CONFLICT DO NOTHING"
        )
        for _ in range(times):
            conn.execute(
                "UPDATE projects SET description = repeat(gen_random_uuid()::text, %s)", [EVENT_BYTES // 2 // 36]
            )


@pytest.mark.parametrize("is_restarted", [False, True], ids=["server goes on", "server restarted"])
async def test_a_full_disk_of_nats_loses_and_doubles_nothing(
    database: str, prefix: str, small_disk: Path, is_restarted: bool
) -> None:
    written = 150  # about 15 MB
    with embedded.nats_server(small_disk, settings={"jetstream.max_file_store": 1024**3}) as server:
        url = server.url
        async with running_relay(database, url, prefix) as metrics:
            await asyncio.to_thread(describe, database, written)
            async with asyncio.timeout(30):
                while not metrics.problems():
                    await asyncio.sleep(0.01)
            assert 0 < metrics.published < written
            subprocess.run(["mount", "-o", f"remount,size={LARGE}", small_disk / "nats"], check=True)  # noqa: ASYNC221
            if not is_restarted:
                await asyncio.to_thread(describe, database, 5)
                await assert_exactly_once(database, url, prefix, at_least=written + 6, timeout_seconds=60)
                return
    with embedded.nats_server(small_disk, settings={"jetstream.max_file_store": 1024**3}) as server:
        async with running_relay(database, server.url, prefix):
            await asyncio.to_thread(describe, database, 5)
            await assert_exactly_once(database, server.url, prefix, at_least=written + 6, timeout_seconds=60)
