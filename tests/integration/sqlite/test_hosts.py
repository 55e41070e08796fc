"""Import of iMi's old databases of several machines: paths are of the host that is given."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from publisher.history.verification import verify
from registry.errors import Conflict
from tests.support.before.importing import count, everything, rows, run
from tests.support.before.sqlite import OldDatabase
from tests.support.processes import run as run_command
from tests.support.world import World

PLACES = "SELECT host_name, trunk_path, is_home FROM v_project_hosts ORDER BY host_name"
WORKTREES = "SELECT w.name, w.path, h.name AS host FROM worktrees w JOIN hosts h ON h.id = w.host_id ORDER BY h.name"


def of_another_machine(file: Path) -> OldDatabase:
    """The same repository with a worktree of the same name at the same path, each with an id of its own."""
    other = OldDatabase(file)
    worktree = str(uuid4())
    other.repository(id=str(uuid4()))
    other.worktree(id=worktree)
    other.activity(id=str(uuid4()), worktree_id=worktree)
    return other


async def test_two_machines_bring_one_project_with_paths_of_each(
    world: World, old: OldDatabase, tmp_path: Path
) -> None:
    other = of_another_machine(tmp_path / "other.db")
    everything(old)
    for _ in range(2):  # the second run finds everything there
        assert run(world.database, old, host="laptop").is_done
        assert run(world.database, other, host="server").is_done

    trunk = "/srv/engine/trunk-main"
    assert rows(world.database, PLACES) == [
        {"host_name": "laptop", "trunk_path": trunk, "is_home": True},
        {"host_name": "server", "trunk_path": trunk, "is_home": False},
    ]
    assert rows(world.database, WORKTREES) == [
        {"name": "feat-x", "path": "/srv/engine/feat-x", "host": "laptop"},
        {"name": "feat-x@server", "path": "/srv/engine/feat-x", "host": "server"},
    ]
    async with world.relay():
        await world.drained()
    ids = {str(row["id"]): row["name"] for row in rows(world.database, "SELECT id, name FROM hosts")}
    told = [
        (event.envelope["type"].removeprefix("imi.").removesuffix(".v1"), ids[event.envelope["hostid"]])
        for event in await world.published()
    ]
    assert told == [
        ("host.registered", "laptop"),
        ("project.registered", "laptop"),
        ("project_host.added", "laptop"),
        ("worktree.created", "laptop"),
        ("activity.logged", "laptop"),
        ("host.registered", "server"),
        ("project_host.added", "server"),
        ("worktree.created", "server"),
        ("activity.logged", "server"),
    ]
    assert (await verify(world.settings())).differences == []


def test_a_host_that_is_another_machine_is_refused_and_nothing_is_imported(database: str, old: OldDatabase) -> None:
    everything(old)
    run(database, old, host="laptop", machine="one", dry_run=True)
    assert (count(database, "hosts"), count(database, "outbox")) == (1, 0), "a dry run registers no host"
    run(database, OldDatabase(old.file.with_name("empty.db")), host="laptop", machine="one")
    with pytest.raises(Conflict, match=r"laptop.* is another machine"):
        run(database, old, host="laptop", machine="two")
    assert count(database, "worktrees") == 0


def test_the_command_takes_the_host_of_its_settings(database: str, old: OldDatabase) -> None:
    everything(old)
    done = run_command("import-sqlite", str(old.file), DATABASE_URL=database, IMI_HOST="Laptop")
    assert done.returncode == 0, done.stderr
    assert [row["host"] for row in rows(database, WORKTREES)] == ["laptop"]
