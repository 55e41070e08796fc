"""Every command that works on the database names one that has no schema, and what to run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typer.main import get_command

from publisher.cli.main import app
from tests.support.cli.commands import commands
from tests.support.commandline import CommandLine

WORK_WITHOUT = {
    *("serve", "mirror run", "replica run"),  # they wait for it
    *("migrate up", "migrate status", "migrate head", "migrate down", "migrate rollback", "config show"),
}
COMMANDS = {
    " ".join(path): command
    for path, command in commands(get_command(app))
    if any("--database-url" in parameter.opts for parameter in command.params)
}
ID = "00000000-0000-4000-8000-000000000001"
ARGUMENTS = {
    "agreement settle": [],
    "capacity": ["--writes", "10/s"],
    "events export": ["-"],
    "events import": ["history.jsonl"],
    "history show": ["project", ID],
    "host register": ["desk"],
    "host update": ["desk", "--description", "x"],
    "import-sqlite": ["imi.db"],
    "project register": ["--origin", "git@github.com:o/r.git"],
    "project update": [ID, "--description", "x"],
    "project adopt-id": [ID, "--derived"],
    "replica create": ["source", "--source", "postgresql:///x?host=/nowhere"],
    "roles grant": ["writer", "nobody"],
    "roles revoke": ["writer", "nobody"],
    "worktree register": [".", "--project", ID, "--type", "feat", "--branch", "b"],
    "worktree update": [ID, "--branch", "b"],
    "worktree merge": [ID, "abc123"],
    "worktree git-state": [ID, "--ahead", "1"],
    "type update": ["feat", "--icon", "x"],
    "path": [ID],
    "sync": ["."],
}


def arguments(name: str) -> list[str]:
    """What `name` needs to be called with, to get as far as the database."""
    parameters = COMMANDS[name].params
    needed = [parameter for parameter in parameters if parameter.param_type_name == "argument" and parameter.required]
    return [
        *ARGUMENTS.get(name, [ID] * len(needed)),
        *(["--yes"] if any("--yes" in parameter.opts for parameter in parameters) else []),
    ]


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WORK_WITHOUT))
def test_a_database_without_the_schema_is_named(
    cli: CommandLine, empty_database: str, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "history.jsonl").touch()
    sqlite3.connect(tmp_path / "imi.db").close()
    for variable in ("NATS_URL", "IMI_AGREEMENT_NATS_URL"):
        monkeypatch.setenv(variable, nats_url)

    done = cli(*name.split(), *arguments(name), "--database-url", empty_database)

    assert (done.code, done.out) == (1, ""), done.err
    assert "has no registry schema" in done.err
    assert done.err.splitlines()[-1].endswith("run: imi-registry migrate")
