"""Which id a project has, for people: derived, adopted, merged; former ids go on to be understood."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from registry.origin import derived_project_id
from tests.support.commandline import CommandLine
from tests.support.git.repositories import ORIGIN
from tests.support.outbox_reader import events

OTHER = "git@github.com:ada/other.git"


def registered(cli: CommandLine, origin: str = ORIGIN, *options: str) -> str:
    return str(cli("project", "register", "--origin", origin, *options, "--json").json["id"])


def test_ids_are_derived_where_it_is_asked_for_or_set(cli: CommandLine) -> None:
    assert cli("project", "derived-ids").out == "ids of new projects are random, unless a caller says\n"
    assert registered(cli, OTHER, "--derived-id") == str(derived_project_id(OTHER))

    told = cli("project", "derived-ids", "on").out
    assert told == "ids of new projects are derived from their origins, unless a caller says\n"
    assert cli("project", "derived-ids", "--json").json == {"derived_ids": True}
    assert registered(cli) == str(derived_project_id(ORIGIN))
    refused = cli("project", "derived-ids", "perhaps")
    assert (refused.code, "must be on or off" in refused.err) == (2, True)


def test_a_project_goes_on_under_another_id_and_is_found_by_both(cli: CommandLine) -> None:
    former, derived = registered(cli), str(derived_project_id(ORIGIN))

    assert cli("project", "adopt-id", former, "--derived", "--yes").out.endswith(
        f" is {derived} now; {former} goes on to mean it\n"
    )
    assert cli("project", "adopt-id", former, "--derived", "--yes").out.endswith(f"has the id {derived} already\n")
    assert cli("project", "show", former, "--json").json["id"] == derived
    assert cli("inflight", "--project", former, "--json").json == []


@pytest.mark.parametrize("given", [[], ["--derived", "--id", str(uuid4())]], ids=["none", "both"])
def test_adopt_id_is_told_which_one(cli: CommandLine, given: list[str]) -> None:
    refused = cli("project", "adopt-id", registered(cli), *given, "--yes")
    assert "give the id: one of --id and --derived" in refused.err


def test_two_projects_are_made_one_and_again_changes_nothing(cli: CommandLine, database: str) -> None:
    loser, winner = registered(cli, OTHER), registered(cli)

    merged = cli("project", "merge", loser, winner, "--yes")
    assert (merged.code, merged.out) == (0, f"merged other {loser} into engine {winner}\n")
    assert cli("project", "merge", loser, winner, "--yes").out == f"engine {winner} is one project already\n"
    assert cli("project", "show", loser, "--json").json["id"] == winner
    assert [action for _, action, _ in events(database)].count("merged") == 1


def test_who_does_not_agree_keeps_both(cli: CommandLine, database: str) -> None:
    loser, winner = registered(cli, OTHER), registered(cli)

    refused = cli("project", "merge", loser, winner, stdin="n\n")

    assert refused.code == 1
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM projects").fetchone() == (2,)
