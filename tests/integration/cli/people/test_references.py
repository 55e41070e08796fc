"""Every command that means a project or a worktree, given in every form, and given wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest

from tests.support.commandline import CommandLine


class Thing(NamedTuple):
    """A project and its worktree, as tables print them."""

    project: str
    project_id: str
    worktree: str
    worktree_id: str


@pytest.fixture
def registered(database: str) -> Callable[[str, str], Thing]:
    """Registers a project and a worktree of these names, of an origin and a path of their own."""
    count = 0

    def register(project: str, worktree: str) -> Thing:
        nonlocal count
        count += 1
        with psycopg.connect(database) as conn:
            (project_id,) = conn.execute(
                "SELECT register_project(%s, %s)", [project, f"git@github.com:ada/p{count}.git"]
            ).fetchone() or ("",)
            (worktree_id,) = conn.execute(
                "SELECT register_worktree(%s, 'feat', %s, 'feat/x', %s)", [project_id, worktree, f"/x/{count}"]
            ).fetchone() or ("",)
        return Thing(project, str(project_id), worktree, str(worktree_id))

    return register


OF_PROJECT = [
    "project show {}",
    "project update {} --description new",
    "project deactivate {} --yes",
    "project activate {}",
    "worktree list --project {}",
    "worktree register /y/{n} --project {} --branch fix/new",
    "inflight --project {}",
    "activity list --project {}",
    "path {}",
    "history show project {}",
]
OF_WORKTREE = [
    "worktree show {}",
    "worktree update {} --branch feat/y",
    "worktree claim {} --agent ada",
    "worktree release {}",
    "worktree merge {} abc1234",
    "worktree remove {} --yes",
    "worktree git-state {} --uncommitted 2",
    "activity log other Looked --worktree {}",
    "activity list --worktree {}",
    "history show worktree {}",
]
UNKNOWN = [
    "nope",
    "",
    " ",
    "-",
    "0",
    "fff",
    "ffffffff",
    "\x1b[2J",
    "x" * 3000,
    "日本語",
    "a@b@c",
    "%s",
    "'; DROP TABLE projects; --",
]


def typed(command: str, reference: str, number: int = 0) -> list[str]:
    """The words of a command with the reference in its place, and a number where a word must be new."""
    return [reference if word == "{}" else word.replace("{n}", str(number)) for word in command.split()]


@pytest.mark.parametrize("command", OF_PROJECT)
def test_a_project_is_meant_in_every_form(
    cli: CommandLine, registered: Callable[[str, str], Thing], command: str
) -> None:
    for number, form in enumerate(
        [
            lambda thing: thing.project_id,
            lambda thing: thing.project_id.upper(),
            lambda thing: thing.project_id[:8],
            lambda thing: thing.project,
        ]
    ):
        thing = registered(f"engine-{number}", "w")
        done = cli(*typed(command, form(thing), number))
        assert (done.code, done.err) == (0, ""), form(thing)


@pytest.mark.parametrize("command", OF_WORKTREE)
def test_a_worktree_is_meant_in_every_form(
    cli: CommandLine, registered: Callable[[str, str], Thing], command: str
) -> None:
    for number, form in enumerate(
        [
            lambda thing: thing.worktree_id,
            lambda thing: thing.worktree_id.upper(),
            lambda thing: thing.worktree_id[:8],
            lambda thing: thing.worktree,
            lambda thing: f"{thing.worktree}@{thing.project}",
            lambda thing: f"{thing.worktree_id[:8]}@{thing.project_id[:8]}",
        ]
    ):
        thing = registered(f"engine-{number}", f"feat-{number}")
        done = cli(*typed(command, form(thing), number))
        assert (done.code, done.err) == (0, ""), form(thing)


@pytest.mark.parametrize("command", OF_PROJECT + OF_WORKTREE)
def test_what_could_be_several_is_refused_with_the_list(
    cli: CommandLine, registered: Callable[[str, str], Thing], command: str
) -> None:
    first, second = registered("engine", "feat-x"), registered("engine", "feat-x")
    is_project = command in OF_PROJECT
    done = cli(*typed(command, "engine" if is_project else "feat-x"))
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    for thing in (first, second):
        assert (thing.project_id if is_project else thing.worktree_id)[:8] in done.err
    assert "give its id" in done.err


@pytest.mark.parametrize("command", OF_PROJECT + OF_WORKTREE)
def test_what_is_not_there_is_named_in_one_line(
    cli: CommandLine, registered: Callable[[str, str], Thing], command: str
) -> None:
    thing = registered("engine", "feat-x")
    what = "project" if command in OF_PROJECT else "worktree"
    unknown = [*UNKNOWN, str(UUID(int=1))]
    if command.startswith(("activity list", "inflight", "worktree list")):
        unknown.remove("")  # as if the option were not given
    for reference in unknown:
        done = cli(*typed(command, reference))
        assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1), (reference, done)
        assert done.err.startswith("imi-registry: "), done.err
        assert "\x1b" not in done.err
        if reference not in {"a@b@c", str(UUID(int=1))}:
            assert f"no {what} " in done.err, (reference, done.err)
    near = cli(*typed(command, "engin" if what == "project" else "feat-y"))
    assert f'did you mean "{thing.project if what == "project" else thing.worktree}"?' in near.err


def test_the_id_of_a_worktree_leads_to_its_path_and_a_name_that_is_new_to_where_it_belongs(
    cli: CommandLine, registered: Callable[[str, str], Thing]
) -> None:
    thing = registered("engine", "feat-x")
    for reference in (thing.worktree, thing.worktree_id, thing.worktree_id[:8]):
        assert cli("path", "engine", reference).out == "/x/1\n"
    beginning = thing.worktree_id[:3]
    assert cli("path", "engine", beginning, "--json").json["path"].endswith(f"/{beginning}")
