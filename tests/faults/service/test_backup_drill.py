"""The drill of docs/backup.md, as it stands there: all is lost, restored elsewhere, verified, and goes on."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from publisher.embedded.binaries import postgres_binaries
from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support import processes
from tests.support.services import POSTGRES_SETTINGS, wait_until
from tests.support.world import Published, World

PAGE = (Path(__file__).parents[3] / "docs" / "backup.md").read_text()
ARCHIVING, RECOVERING = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DURABLE = POSTGRES_SETTINGS | {"full_page_writes": "on"}
"""A base backup is made whole by the pages in its WAL. The machine does not lose its power: no fsync."""


def section(title: str) -> list[str]:
    """The commands of a section."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\$ (.*)$", text, re.MULTILINE)


def settings(text: str, archive: Path) -> dict[str, str]:
    """Settings of PostgreSQL that the page shows, with our folder in the place of its own."""
    return {
        name: value.replace("/archive", str(archive)) for name, value in re.findall(r"^(\w+) = '?(.*?)'?$", text, re.M)
    }


def shell(command: str, **variables: str) -> None:
    """Run a line of the page that calls PostgreSQL's own programs."""
    path = f"{postgres_binaries()}:/usr/bin:/bin"
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True, env={"PATH": path} | variables)


async def imi(command: str, world: World) -> subprocess.CompletedProcess[str]:
    """Run a line of the page that calls ours."""
    name, *words = command.split()
    assert name == "imi-registry"
    variables = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    return await asyncio.to_thread(processes.run, *words, **variables)


def archived(url: str) -> None:
    """Let the segment that is written now be archived, as archive_timeout does, and wait until it is."""
    with psycopg.connect(url, autocommit=True) as conn:
        (name,) = conn.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
        query = "SELECT coalesce(last_archived_wal >= %s, false) FROM pg_stat_archiver"
        wait_until(lambda: (conn.execute(query, [name]).fetchone() or (False,))[0], 60)


def restored(backup: Path, folder: Path, password: Path, recovery: Mapping[str, str]) -> None:
    """Make a base backup the data of a new server."""
    folder.mkdir()
    shutil.copy(password, folder)
    shutil.move(backup, folder / "postgres")
    lines = "".join(f"{name} = '{value.replace(chr(39), 2 * chr(39))}'\n" for name, value in recovery.items())
    with (folder / "postgres" / "postgresql.auto.conf").open("a") as file:
        file.write(lines)
    (folder / "postgres" / "recovery.signal").touch()


def told(events: list[Published]) -> list[tuple[int, str, dict[str, Any]]]:
    """What a reader of the stream sees of each event."""
    return [(event.sequence, event.subject, event.envelope) for event in events]


def folders(inside: Path) -> list[Path]:
    """Of the archive, of a base backup, which is not there yet, of a server, and of another one, which is not there."""
    found = [inside / name for name in ("archive", "base", "old", "new")]
    for folder in found[::2]:
        folder.mkdir()
    found[0].chmod(0o777)  # PostgreSQL may run as another user
    inside.chmod(0o755)
    return found


async def test_all_is_lost_and_restored_elsewhere_to_a_moment(world: World, state_dir: Path) -> None:
    archive, backup, old, new = folders(state_dir)
    (take,) = section("Continuously, to any moment")
    verify, serve = section("The drill: restore elsewhere")[:-1], section("The drill: restore elsewhere")[-1]

    # given a registry whose WAL is archived, a base backup in the middle of it, and a mistake at its end
    with postgres(old, settings=DURABLE | settings(ARCHIVING, archive)) as server:
        there = world.at(database=server.url)
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        async with there.relay():
            there.write()
            await there.drained()
            shell(take.replace("/backup/base", str(backup)), DATABASE_URL=server.url)
            there.write(renames=5)
            await there.drained()
            before = told(await there.published())
            ((moment,),) = there.rows("SELECT clock_timestamp()::text")
            there.rows("DELETE FROM worktrees RETURNING id")
            await there.drained()
        archived(server.url)
    mistake = len(await there.published()) - len(before)
    assert mistake > 0

    # when the machine is lost, and restored to the moment before
    recovery = settings(RECOVERING, archive)
    assert "recovery_target_time" in recovery
    restored(backup, new, old / "postgres.password", recovery | {"recovery_target_time": moment})
    shutil.rmtree(old)
    with postgres(new, settings=DURABLE) as server:
        there = world.at(database=server.url)
        wait_until(lambda: there.rows("SELECT pg_is_in_recovery()") == [(False,)], 60)

        # then a stream that lives on tells of the mistake, and
        (listed, _) = section("Back in time beside a stream that lives")
        phantoms = await imi(f"{listed} --json", there)
        assert len(json.loads(phantoms.stdout)) == mistake, phantoms

        # when NATS is lost, too
        await there.delete_stream()
        for command in verify:
            done = await imi(command, there)
            assert done.returncode == 0, (command, done.stdout, done.stderr)

        # then the stream is what it was, and the relay goes on behind it
        assert told(await there.published()) == before
        assert serve == "imi-registry serve"
        with there.process() as service:
            await service.ready()
            there.rows("SELECT register_project('after', 'git@github.com:ada/after.git')")
            await there.assert_exactly_once(at_least=len(before) + 1, timeout_seconds=60)
        *same, last = told(await there.published())
        assert same == before
        assert last[2]["type"] == "imi.project.registered.v1"
