"""Projects on the command line: registered, shown, changed, put away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN, checkout, linked
from tests.support.outbox_reader import events


def test_a_project_is_registered_from_its_checkout(cli: CommandLine, tmp_path: Path) -> None:
    # given a linked work tree of a repository whose default branch is not main
    main = checkout(tmp_path / "engine" / "trunk-develop", "https://github.com/Ada/Engine", branch="develop")
    feature = linked(main, tmp_path / "engine" / "feat-x", "feat/x")
    # when
    project = cli("project", "register", feature, "--metadata", '{"team": "core"}', "--json").json
    # then
    assert (project["name"], project["remote_origin"]) == ("Engine", ORIGIN)
    assert (project["default_branch"], project["trunk_path"]) == ("develop", str(main))
    assert (project["active"], project["metadata"]) == (True, {"team": "core"})


@pytest.mark.parametrize(
    ("option", "code", "told"),
    [
        ("--origin", 2, "'--origin': is blank"),
        ("--name", 2, "p_name"),
        ("--branch", 2, "p_default_branch"),
        ("--trunk-path", 2, "p_trunk_path"),
    ],
)
def test_a_blank_that_was_given_is_refused_by_its_own_name(cli: CommandLine, option: str, code: int, told: str) -> None:
    origin = [] if option == "--origin" else ["--origin", ORIGIN]
    refused = cli("project", "register", *origin, option, " ")
    assert refused.code == code
    assert told in refused.err


@pytest.mark.parametrize(
    "origin", ["https://github.com/Ada/engine", "ssh://git@github.com/ada/engine.git", "git@github.com:ADA/ENGINE"]
)
def test_a_project_is_registered_once_whatever_the_form_of_its_origin(
    cli: CommandLine, database: str, origin: str
) -> None:
    first = cli("project", "register", "--name", "engine", "--origin", ORIGIN, "--json").json
    again = cli("project", "register", "--name", "engine", "--origin", origin, "--json").json
    assert again == first
    assert [row[:2] for row in events(database)] == [("project", "registered")]
    said = cli("project", "register", "--name", "engine", "--origin", origin).out
    assert said == f"unchanged engine ({ORIGIN}) {first['id']}\n"


def test_a_given_origin_is_not_mixed_with_the_checkout_that_is_here(cli: CommandLine, tmp_path: Path) -> None:
    checkout(tmp_path / "other", "git@github.com:ada/other.git", branch="develop")
    project = cli("project", "register", "--origin", "https://github.com/ada/motor", "--json").json
    assert (project["name"], project["default_branch"]) == ("motor", "main")
    assert project["trunk_path"].endswith("/code/motor/trunk-main")


def test_projects_are_shown_listed_updated_and_deactivated(cli: CommandLine, engine: Path) -> None:
    (listed,) = cli("project", "list", "--json").json
    assert cli("project", "show", "Engine", "--json").json == listed
    updated = cli("project", "update", "Engine", "--name", "motor", "--description", "Großer Motor", "--json").json
    assert (updated["name"], updated["description"]) == ("motor", "Großer Motor")
    shown = cli("project", "show", "motor").out
    assert "Großer Motor" in shown
    assert "feat-search" in shown
    assert cli("project", "deactivate", "motor", "--yes").out == "deactivated motor\n"
    assert cli("project", "deactivate", "motor", "--yes").out == "motor was inactive already\n"
    assert cli("project", "list", "--json").json == []
    assert [one["active"] for one in cli("project", "list", "--all", "--json").json] == [False]


def test_a_project_is_meant_by_name_origin_id_and_folder(cli: CommandLine, engine: Path) -> None:
    project = cli("project", "show", "Engine", "--json").json
    origins = (ORIGIN, "https://github.com/ada/engine", "ada/engine", "Ada/Engine")
    for reference in (*origins, project["id"], project["id"][:8], str(engine)):
        assert cli("project", "show", reference, "--json").json == project, reference


def test_a_project_that_was_put_away_comes_back_as_it_was(cli: CommandLine, engine: Path, database: str) -> None:
    # given a name that is no directory's
    cli("project", "update", "Engine", "--name", "ada/engine", "--description", "Big")
    before = cli("project", "show", "ada/engine", "--json").json
    cli("project", "deactivate", "ada/engine", "--yes")
    # when
    assert cli("project", "activate", "ada/engine").out == "activated ada/engine\n"
    # then
    assert cli("project", "show", before["id"], "--json").json == before | {
        "updated_at": cli("project", "list", "--json").json[0]["updated_at"]
    }
    assert events(database)[-1][:2] == ("project", "reactivated")
    assert cli("worktree", "list", "--json").json == []
    assert cli("project", "activate", before["id"]).out == "ada/engine was active already\n"
