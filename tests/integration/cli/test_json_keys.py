"""`--json` of every command: one thing has the keys of its events, whichever command shows it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.commandline import CommandLine
from tests.unit.cli.test_cli_help import COMMANDS

NOT_SHOWN = {"changed", "remote_origin"}
"""Of the data of events: the first is no field of the row, the second is, of a worktree, its project's."""
WHOLE = {
    "project register": ("project", ["--origin", "git@github.com:ada/new.git"]),
    "project show": ("project", ["engine"]),
    "project list": ("project", []),
    "project update": ("project", ["engine", "--description", "New"]),
    "project deactivate": ("project", ["motor", "--yes"]),
    "project activate": ("project", ["motor"]),
    "worktree register": ("worktree", ["/x/new", "--project", "engine", "--branch", "fix/new"]),
    "worktree show": ("worktree", ["feat-x"]),
    "worktree list": ("worktree", []),
    "worktree update": ("worktree", ["feat-x", "--branch", "feat/y"]),
    "worktree claim": ("worktree", ["feat-x", "--agent", "ada"]),
    "worktree release": ("worktree", ["feat-x"]),
    "worktree git-state": ("worktree", ["feat-x", "--uncommitted", "2"]),
    "worktree merge": ("worktree", ["feat-x", "abc1234"]),
    "worktree remove": ("worktree", ["new", "--yes"]),
    "type add": ("worktree_type", ["docs"]),
    "type list": ("worktree_type", []),
    "type update": ("worktree_type", ["docs", "--icon", "x"]),
    "activity list": ("activity", []),
    "host register": ("host", ["server"]),
    "host show": ("host", ["server"]),
    "host rename": ("host", ["server", "box"]),
    "host update": ("host", ["box", "--description", "In the basement"]),
}
"""In this order: each shows whole things of one kind."""
PARTLY = {
    "search": ("project", ["engine"], {"project_id", "project_name", "name", "remote_origin", "trunk_path"}),
    "inflight": (
        "worktree",
        [],
        {"worktree_id", "project_id", "project_name", "name", "branch_name", "agent_id", "status"}
        | {"uncommitted_files_count", "ahead_of_trunk", "behind_trunk"},
    ),
    "path": ("worktree", ["engine", "feat-x"], {"path"}),
    "activity log": ("activity", ["other", "Looked", "--worktree", "feat-x"], {"activity_id"}),
}
"""These show a part of one, under these keys at least."""
ENVELOPES = {"events tail", "events replay", "events show", "events snapshot", "history show"}
"""Envelopes, rows of the same models, and changes: tests of their own."""
NO_THING = {
    "actions",
    "capacity",
    "stats",
    "host list",
    "doctor",
    "status",
    "config show",
    "import-sqlite",
    "history verify",
    "history audit",
    "phantoms",
    "roles show",
    "health",
    "slow-queries",
    "agreement settle",
    "agreement status",
    "project adopt-id",
    "project derived-ids",
    "project merge",
    "mirror status",
    "replica status",
    "months status",
    "migrate down",
    "migrate up",
    "migrate status",
    "schemas list",
    "sync",
    "demo",
    "commands send",
    "commands dead-letters list",
    "commands dead-letters show",
    "events dead-letters list",
    "events dead-letters show",
    "events dead-letters record",
}
"""Counts, findings, reports, outcomes: nothing that an event is about."""


@pytest.fixture
def cli(cli: CommandLine, database: str) -> CommandLine:
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('motor', 'git@github.com:ada/motor.git')")
        conn.execute(
            "SELECT log_activity('ada', register_worktree(register_project('engine', 'git@github.com:ada/engine.git'),"
            " 'feat', 'feat-x', 'feat/x', '/x/feat-x'), 'other', 'Looked')"
        )
    return cli


def keys_of_events(database: str) -> dict[str, set[str]]:
    """What the data of events has, by entity; a type of the user's own has one, too."""
    with psycopg.connect(database) as conn:
        rows = conn.execute("SELECT entity, data FROM outbox ORDER BY id").fetchall()
    return {entity: set(data) - NOT_SHOWN for entity, data in rows}


def each(shown: Any) -> list[dict[str, Any]]:
    return shown if isinstance(shown, list) else [shown]


def test_no_command_with_json_is_left_out() -> None:
    with_json = {
        " ".join(path) for path, command in COMMANDS.items() if any("--json" in one.opts for one in command.params)
    }
    assert with_json == WHOLE.keys() | PARTLY.keys() | ENVELOPES | NO_THING
    reading = {"show", "list", "status", "inflight", "search", "stats", "path", "doctor", "verify", "tail", "replay"}
    without = {path for path in COMMANDS if path[-1] in reading and " ".join(path) not in with_json}
    assert without == {("schemas", "show")}  # it shows JSON as it is


def test_a_thing_has_the_keys_of_its_events_whichever_command_shows_it(cli: CommandLine, database: str) -> None:
    cli("type", "add", "words")
    seen: dict[str, set[str]] = {}
    for command, (entity, arguments) in WHOLE.items():
        shown = each(cli(*command.split(), *arguments, "--json").json)
        assert shown, command
        for row in shown:
            assert keys_of_events(database)[entity] <= row.keys(), (
                command,
                keys_of_events(database)[entity] - row.keys(),
            )
            assert seen.setdefault(entity, set(row)) == set(row), command


def test_a_part_of_a_thing_has_the_keys_of_its_events(cli: CommandLine, database: str) -> None:
    cli("worktree", "git-state", "feat-x", "--uncommitted", "2")
    for command, (entity, arguments, least) in PARTLY.items():
        (row,) = each(cli(*command.split(), *arguments, "--json").json)
        assert least <= row.keys(), command
        assert least - {"remote_origin"} <= keys_of_events(database)[entity], command


def test_a_change_of_a_history_has_the_keys_of_its_envelope(cli: CommandLine) -> None:
    (change,) = cli("history", "show", "project", "engine", "--json").json
    assert {"id", "time", "actor", "correlationid", "causationid"} <= change.keys()
