"""The components of examples/ do what they say, as processes of their own beside a real registry."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER
from tests.support.git.repositories import checkout, linked
from tests.support.processes import environment
from tests.support.world import World

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(file.name for file in EXAMPLES.glob("*.py"))


@asynccontextmanager
async def component(
    world: World, name: str, *arguments: object, **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running example; killed at the end, if it has not ended by then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", str(EXAMPLES / f"{name}.py"), *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        env=environment(NATS_URL=world.nats_url, IMI_PREFIX=world.prefix, **settings),
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


async def lines(process: asyncio.subprocess.Process, count: int) -> set[str]:
    assert process.stdout is not None
    return {(await process.stdout.readline()).decode().strip() for _ in range(count)}


def worktree(world: World, name: str, path: Path | str, host: str | None = None) -> str:
    """A new worktree of the project `engine`, on the default host if on no other; its id."""
    ((found,),) = world.rows(
        "SELECT register_worktree(project, 'feat', %s, %s, %s)::text FROM (SELECT "
        "CASE WHEN %s::text IS NOT NULL THEN use_host(%s, p_is_local := true) END, "
        "register_project('engine', 'git@github.com:ada/engine.git') AS project OFFSET 0) AS here",
        *(name, f"feat/{name}", str(path), host, host),
    )
    return str(found)


@pytest.mark.parametrize("name", FILES)
def test_an_example_has_less_than_60_lines_and_is_listed(name: str) -> None:
    assert len(FILES) == 5
    assert len((EXAMPLES / name).read_text().splitlines()) < 60
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text()


async def test_the_janitor_removes_what_is_merged_and_keeps_work_that_is_not_committed(
    world: World, tmp_path: Path
) -> None:
    # given worktrees below the folder: one clean, one with a new file, one registered anew; and one elsewhere
    main = checkout(tmp_path / "code" / "engine", "git@github.com:ada/engine.git")
    clean, dirty, again = (linked(main, tmp_path / "code" / name, name) for name in ("clean", "dirty", "again"))
    elsewhere = linked(main, tmp_path / "elsewhere", "elsewhere")
    (dirty / "new").write_text("x")
    with world.process() as service:
        await service.ready()
        for folder in (again, elsewhere, clean, dirty):
            world.rows("SELECT mark_worktree_merged(%s::uuid, 'ada', 'abc1234')", worktree(world, folder.name, folder))
        worktree(world, "again", again)
        await world.drained()

        # when the janitor, which was not there then, starts
        async with component(world, "worktree_janitor", tmp_path / "code") as janitor:
            said = await lines(janitor, 2)

    # then
    assert "engine/clean: removed" in said
    assert any(line.startswith("engine/dirty: kept: fatal:") for line in said)
    assert [folder.exists() for folder in (clean, dirty, again, elsewhere)] == [False, True, True, True]


async def test_the_janitor_of_a_host_leaves_what_is_merged_on_another(world: World, tmp_path: Path) -> None:
    # given one path on two hosts, merged on one of them, and then a worktree that is merged on the other
    main = checkout(tmp_path / "code" / "engine", "git@github.com:ada/engine.git")
    at_work, merged = (linked(main, tmp_path / "code" / name, name) for name in ("at_work", "merged"))
    worktree(world, "at_work", at_work, host="laptop")
    same = worktree(world, "at_work", at_work, host="server")
    done = worktree(world, "merged", merged, host="laptop")
    with world.process() as service:
        await service.ready()
        for one in (same, done):
            world.rows("SELECT mark_worktree_merged(%s::uuid, 'ada', 'abc1234')", one)
        await world.drained()

        # when
        async with component(world, "worktree_janitor", tmp_path / "code", IMI_HOST="laptop") as janitor:
            said = await lines(janitor, 1)

    # then
    assert said == {"engine/merged: removed"}
    assert at_work.exists()


async def test_the_notifier_tells_each_event_again_until_it_is_taken(world: World) -> None:
    taken: list[tuple[str, str]] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        taken.append((headers["idempotency-key"], body["text"]))
        status = b"503 Later" if len(taken) == 1 else b"204 Done"
        writer.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with world.relay(), server:
        first = worktree(world, "first", "/srv/first")
        await world.drained()
        async with component(world, "notifier", url):
            while not taken:  # it sees what happens after it has subscribed
                world.rows("UPDATE worktrees SET agent_id = NULL WHERE id = %s::uuid RETURNING id", first)
                world.rows("UPDATE worktrees SET agent_id = 'ada' WHERE id = %s::uuid RETURNING id", first)
                await asyncio.sleep(0.1)
            world.rows("SELECT update_worktree_git_state(%s::uuid, p_behind := 3)", first)
            world.rows("SELECT mark_worktree_merged(%s::uuid, 'grace', 'abc1234')", first)
            await until(lambda: "engine/first: merged by grace" in [text for _, text in taken])

    texts = [text for _, text in taken]
    assert texts[0] == texts[1] == "engine/first: ada works on it"
    assert taken[0][0] == taken[1][0]  # so that the receiver knows it again
    assert texts[-2:] == ["engine/first: now 3 behind its trunk", "engine/first: merged by grace"]


async def test_the_dashboard_feed_is_up_to_date_and_always_whole(world: World, tmp_path: Path) -> None:
    feed = tmp_path / "inflight.json"

    def shown() -> Any:
        return json.loads(feed.read_text())["worktrees"] if feed.exists() else None

    with world.process() as service:
        await service.ready()
        found = worktree(world, "search", "/srv/search")
        world.rows("SELECT update_worktree_git_state(%s::uuid, p_uncommitted_count := 2)", found)
        await world.drained()
        async with component(world, "dashboard_feed", feed):
            await until(shown)
            row = {"project": "engine", "worktree": "search", "agent": None}
            assert shown() == [row | {"uncommitted": 2, "ahead": 0, "behind": 0}]
            world.rows("UPDATE worktrees SET agent_id = 'ada' WHERE id = %s::uuid RETURNING id", found)
            await until(lambda: shown()[0]["agent"] == "ada")
            world.rows("SELECT update_worktree_git_state(%s::uuid, p_uncommitted_count := 0)", found)
            await until(lambda: shown() == [])


def test_the_dashboard_feed_leaves_out_a_worktree_whose_project_is_gone_already() -> None:
    """As between the two events of a TRUNCATE."""
    inflight = runpy.run_path(str(EXAMPLES / "dashboard_feed.py"))["inflight"]
    left = SimpleNamespace(project_id=UUID(int=1), active=True, merged_at=None, has_uncommitted_changes=True)
    assert inflight(SimpleNamespace(projects={}, worktrees={UUID(int=2): left})) == []


async def test_the_exporter_has_every_event_once_whatever_is_killed(world: World, tmp_path: Path) -> None:
    file = tmp_path / "audit.db"

    def stored() -> int:
        with suppress(sqlite3.OperationalError), sqlite3.connect(file) as database:  # until there are tables
            return int(database.execute("SELECT count(*) FROM event").fetchone()[0])
        return 0

    async with world.relay():
        world.write(projects=3, worktrees=3, renames=10)
        await world.drained()
        await world.nats.jetstream().publish(  # somebody else's, with our headers: no event, and no hindrance
            f"{world.prefix}.evt.v1.project.updated.x",
            b'{"id": []}',
            headers={OUTBOX_ID_HEADER: "900000000", EVENT_ID_HEADER: str(UUID(int=3))},
        )
        for part in range(1, 4):  # killed twice while it copies or follows
            async with component(world, "audit_exporter", file):
                await until(lambda part=part: stored() >= 10 * part)  # type: ignore[misc]
            world.write(projects=1, worktrees=1, renames=1)
        await world.drained()
        expected = [row[0] for row in world.rows("SELECT event_id::text FROM outbox ORDER BY id")]
        async with component(world, "audit_exporter", file):
            await until(lambda: stored() == len(expected))

    with sqlite3.connect(file) as database:
        assert [row[0] for row in database.execute("SELECT id FROM event ORDER BY sequence")] == expected


async def test_the_registrar_registers_everything_once(world: World, tmp_path: Path) -> None:
    main = checkout(tmp_path / "engine", "https://github.com/ada/engine")
    linked(main, tmp_path / "feat-search", "feat/search")
    shutil.rmtree(linked(main, tmp_path / "gone", "gone"))  # git goes on telling of it
    odd = checkout(tmp_path / "zoo", "https://github.com/ada/zoo")
    linked(odd, tmp_path / os.fsdecode(b"\xff"), "odd")
    checkout(tmp_path / "private")
    async with world.relay(), world.applier():
        for _ in range(2):
            async with component(world, "project_registrar", tmp_path) as registrar:
                out, _ = await registrar.communicate()
            assert registrar.returncode == 0
            said = out.decode().splitlines()
            assert said[:2] == ["engine/feat-search: registered", "engine: registered"]
            assert said[2].startswith("private: skipped: ")
            assert said[3].startswith("zoo: skipped: 'utf-8' codec can't decode")
        await world.drained()

    assert world.rows("SELECT name FROM projects ORDER BY name") == [("engine",), ("zoo",)]
    assert world.rows("SELECT name, branch_name, path FROM worktrees") == [
        ("feat-search", "feat/search", str(tmp_path / "feat-search"))
    ]
    ((created,),) = world.rows("SELECT count(*) FROM outbox WHERE action IN ('registered', 'created')")
    assert created == 3
