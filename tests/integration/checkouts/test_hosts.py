"""`sync` on several hosts of one registry: each judges what it can see, at equal paths, too."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, linked
from tests.support.git.syncing import sync

Machine = Callable[[str | None, str], None]


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Says as which host, or as none, and on a machine of which name commands run from now on."""

    def now(host: str | None, machine: str) -> None:
        monkeypatch.setattr(socket, "gethostname", lambda: machine)
        if host is None:
            monkeypatch.delenv("IMI_HOST", raising=False)
        else:
            monkeypatch.setenv("IMI_HOST", host)

    return now


@pytest.fixture
def other_disk(code: Path) -> Callable[[], None]:
    """Puts the other one of two disks at the folder that is synced: at first one that is empty."""
    away = code.with_name("the other disk")
    away.mkdir()

    def swap() -> None:
        code.rename(code.with_name("between"))
        away.rename(code)
        code.with_name("between").rename(away)

    return swap


def registered(database: str) -> set[tuple[str, str, str, bool]]:
    """Host, name and branch of all worktrees, and whether each is active."""
    with psycopg.connect(database) as conn:
        query = "SELECT h.name, w.name, w.branch_name, w.active FROM worktrees w JOIN hosts h ON h.id = w.host_id"
        return set(conn.execute(query).fetchall())  # type: ignore[arg-type]


def trunks(database: str) -> dict[str, str]:
    """Trunk path of the one project on each host."""
    with psycopg.connect(database) as conn:
        return dict(conn.execute("SELECT host_name, trunk_path FROM v_project_hosts").fetchall())  # type: ignore[arg-type]


def test_two_hosts_with_equal_paths_leave_each_other_alone(
    cli: CommandLine, code: Path, database: str, on_machine: Machine, other_disk: Callable[[], None]
) -> None:
    # given a checkout and a work tree of it on one host
    on_machine("laptop", "a")
    main = checkout(code / "engine", ORIGIN)
    linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    # when another host has a checkout at the same path, and no such work tree
    other_disk()
    on_machine("server", "b")
    checkout(code / "engine", ORIGIN)
    sync(cli, code)
    linked(code / "engine", code / "feat-y", "feat/y")
    sync(cli, code)
    # then
    expected = {
        ("laptop", "engine", "main", True),
        ("laptop", "feat-x", "feat/x", True),
        ("server", "engine@server", "main", True),
        ("server", "feat-y", "feat/y", True),
    }
    assert registered(database) == expected
    assert trunks(database) == {"laptop": str(main), "server": str(main)}
    # when the first looks again, and its work tree is gone
    other_disk()
    on_machine("laptop", "a")
    assert {outcome for outcome, _ in sync(cli, code).values()} == {"unchanged"}
    shutil.rmtree(code / "feat-x")
    sync(cli, code)
    # then that one alone is retired
    expected ^= {("laptop", "feat-x", "feat/x", True), ("laptop", "feat-x", "feat/x", False)}
    assert registered(database) == expected


def test_what_a_machine_saw_before_it_had_a_name_is_of_its_host(
    cli: CommandLine, code: Path, database: str, on_machine: Machine
) -> None:
    on_machine(None, "a")
    main = checkout(code / "engine", ORIGIN)
    linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    before = {one["id"] for one in cli("worktree", "list", "--json").json}

    on_machine("laptop", "a")
    sync(cli, code)

    assert registered(database) == {("laptop", "engine", "main", True), ("laptop", "feat-x", "feat/x", True)}
    assert {one["id"] for one in cli("worktree", "list", "--host", "laptop", "--json").json} == before
    assert trunks(database) == {"default": str(main), "laptop": str(main)}


@pytest.mark.parametrize("host", [None, "server"])
def test_what_another_machine_has_is_not_judged(
    cli: CommandLine, code: Path, database: str, on_machine: Machine, host: str | None
) -> None:
    # given what one host has below a folder
    on_machine("laptop", "a")
    main = checkout(code / "engine", ORIGIN)
    linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    before, places = registered(database), trunks(database)
    # when a host without it syncs that folder
    shutil.rmtree(code)
    code.mkdir()
    on_machine(host, "b")
    sync(cli, code)
    # then
    assert registered(database) == before
    assert trunks(database) == places


@pytest.mark.parametrize("host", ["default", "laptop"])
def test_a_machine_that_its_network_calls_otherwise_goes_on_with_what_it_saw(
    cli: CommandLine, code: Path, database: str, on_machine: Machine, host: str
) -> None:
    on_machine(None, "a")
    main = checkout(code / "engine", ORIGIN)
    linked(main, code / "feat-x", "feat/x")
    sync(cli, code)
    if host != "default":
        assert cli("host", "rename", "default", host).code == 0

    on_machine(None if host == "default" else host, "b")
    sync(cli, code)
    shutil.rmtree(code / "feat-x")
    sync(cli, code)

    assert registered(database) == {(host, "engine", "main", True), (host, "feat-x", "feat/x", False)}


def test_a_work_tree_that_another_machine_has_at_the_same_path_is_not_taken_over(
    cli: CommandLine, code: Path, database: str, on_machine: Machine, other_disk: Callable[[], None]
) -> None:
    for machine in ("a", "b"):
        on_machine(None, machine)
        linked(checkout(code / "engine", ORIGIN), code / "feat-x", "feat/x")
        sync(cli, code)
        if machine == "a":
            other_disk()
    shutil.rmtree(code / "feat-x")
    sync(cli, code)
    assert ("default", "feat-x", "feat/x", True) in registered(database)


def test_one_without_a_name_takes_no_worktree_and_no_trunk_of_a_host(
    cli: CommandLine, code: Path, database: str, on_machine: Machine
) -> None:
    on_machine("laptop", "a")
    main = checkout(code / "engine", ORIGIN)
    sync(cli, code)

    main.rename(code / "moved")
    on_machine(None, "b")
    sync(cli, code)

    assert trunks(database) == {"laptop": str(main)}
    assert ("laptop", "engine", "main", True) in registered(database)
    assert {host for host, *_ in registered(database)} == {"laptop", "default"}


def test_a_machine_of_the_same_name_is_told_so(
    cli: CommandLine, code: Path, on_machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from publisher.cli.servers import machine

    number = tmp_path / "machine-id"
    monkeypatch.setattr(machine, "MACHINE_ID", number)
    on_machine("laptop", "a")
    checkout(code / "engine", ORIGIN)
    number.write_text("0123\n")
    sync(cli, code)

    number.write_text("4567\n")
    done = cli("sync", code)
    assert done.code == 1
    assert 'p_name "laptop" is another machine; give this one another name' in done.err
    assert cli("host", "update", "laptop", "--forget-machine").code == 0
    sync(cli, code)
