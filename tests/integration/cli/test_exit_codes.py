"""Exit codes: 2 for what breaks a rule wherever the rule stands, 1 for what is refused, 3 for a server out of reach."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.commandline import CommandLine

ORIGIN = "git@github.com:ada/engine.git"
REGISTER = ["project", "register", "--origin", ORIGIN]
UPDATE = ["project", "update", "engine"]
WORKTREE = ["worktree", "register", "/x/new", "--project", "engine", "--branch", "feat/new"]
CHANGE = ["worktree", "update", "feat-x"]
LOG = ["activity", "log", "--worktree", "feat-x"]
TYPE = ["type", "add", "docs"]
RETYPE = ["type", "update", "fix"]
LONG = "x" * 10_000


@pytest.fixture
def cli(cli: CommandLine, database: str, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    with psycopg.connect(database) as conn:
        conn.execute(
            "SELECT register_worktree(register_project('engine', %s), 'feat', 'feat-x', 'feat/x', '/x/feat-x', 'ada')",
            [ORIGIN],
        )
    return cli


REFUSED_BY_A_RULE = [
    # of the database
    [*REGISTER, "--name", " "],
    [*REGISTER, "--name", LONG],
    [*REGISTER, "--branch", "a b"],
    [*REGISTER, "--branch", ""],
    [*REGISTER, "--trunk-path", "relative/path"],
    [*REGISTER[:2], "--origin", "https://gitlab.com/a/b"],
    [*REGISTER[:2], "--origin", "a/b/c"],
    [*UPDATE, "--name", ""],
    [*UPDATE, "--branch", "a b"],
    [*UPDATE, "--trunk-path", "x"],
    [*UPDATE, "--description", ""],
    [*UPDATE, "--origin", "nonsense"],
    [*UPDATE, "--metadata", '{"a": ' + "[" * 150 + "]" * 150 + "}"],
    [*WORKTREE, "--name", " "],
    [*WORKTREE, "--agent", ""],
    [*CHANGE, "--name", ""],
    [*CHANGE, "--branch", "a b"],
    [*CHANGE, "--path", ""],
    ["worktree", "merge", "feat-x", "not a hash!"],
    ["worktree", "merge", "feat-x", ""],
    ["worktree", "git-state", "feat-x", "--commit", "not a hash!"],
    [*LOG, "danced", "what"],
    [*LOG, "other", " "],
    [*TYPE, "--color", "blurple"],
    [*TYPE, "--branch-prefix", "a b/"],
    ["type", "add", ""],
    ["type", "add", "a b"],
    [*RETYPE, "--color", "blurple"],
    [*RETYPE, "--description", ""],
    ["search", " "],
    ["search", LONG],
    ["path", "engine", "../x"],
    # of the command line
    [*REGISTER, "--metadata", '{"a": NaN}'],
    [*REGISTER, "--metadata", "[]"],
    ["worktree", "claim", "feat-x", "--agent", ""],
    ["worktree", "git-state", "feat-x", "--ahead", "-1"],
    ["worktree", "git-state", "feat-x", "--ahead", str(2**31)],
    ["activity", "list", "--limit", "0"],
    ["activity", "list", "--limit", "-1"],
    ["activity", "list", "--limit", "9" * 30],
    UPDATE,
    ["events", "replay", "--since", "nonsense"],
    ["events", "replay", "--since", "0000-00-00"],
    ["events", "replay", "--since", "2h", "--from-start"],
    ["events", "replay", "--last", "0"],
    ["events", "replay", "--from-sequence", "-1"],
    ["events", "replay", "--until", "0"],
    ["events", "replay", "--after", "nonsense"],
    ["events", "replay", "--entity", "projet"],
    ["events", "replay", "--correlation", "x"],
    ["events", "show", "x"],
    ["events", "show", "0"],
    ["history", "show", "project", "engine", "--as-of", "yesterday"],
    ["history", "show", "projet", "engine"],
    ["commands", "send", "project.register", "{"],
    ["commands", "send", "project.register", "{}", "--id", "x"],
    ["commands", "dead-letters", "show", "0"],
    ["commands", "dead-letters", "retry"],
    ["events", "dead-letters", "show", "d", "0"],
    ["events", "dead-letters", "redeliver", "d"],
    ["events", "dead-letters", "drop", "d", "1", "--reason", "x"],
    ["events", "dead-letters", "list", "a.b"],
    ["maintain", "cleanup-activities", "--days", "-1", "--yes"],
    ["frobnicate"],
    ["project"],
    ["project", "show", "~no-such-user/x"],
    ["sync", "~no-such-user"],
    ["stats", "--state-dir", "~no-such-user/x"],
    ["worktree", "register", "~no-such-user/x"],
    # of settings
    ["stats", "--database-url", "mysql://u@h/d"],
    ["events", "tail", "--nats-url", "http://h"],
    ["serve", "--http-port", "99999"],
]
REFUSED = [
    ["project", "show", "nope"],
    ["project", "show", "ffffffff-ffff-4fff-8fff-ffffffffffff"],
    ["worktree", "claim", "feat-x", "--agent", "bob"],
    ["worktree", "release", "feat-x", "--agent", "bob"],
    [*CHANGE, "--type", "nope"],
    [*WORKTREE, "--type", "nope"],
    ["type", "remove", "feat", "--yes"],
    ["type", "add", "feat", "--branch-prefix", "x/"],
    ["type", "update", "nope", "--icon", "x"],
    ["project", "register", "/nowhere"],
    ["sync", "/nowhere"],
    ["sync", "x" * 300],
    ["demo", "--scan", "/nowhere"],
    ["history", "show", "project", "engine", "--as-of", "1970-01-01"],
    ["events", "import", "/nowhere"],
    ["schemas", "show", "nope"],
    ["schemas", "check", "/nowhere"],
    ["stats", "--state-dir", "/nowhere"],
    ["stats", "--state-dir", "x" * 300],
    ["worktree", "show", "/" + "x" * 300],
    ["project", "show", "/" + "x" * 300],
    ["project", "register", "x" * 300],
    ["events", "export", "/nowhere/x"],
    ["events", "export", "/" + "x" * 300],
    ["migrate", "head", "/proc/nowhere"],
    ["schemas", "generate", "--out", "/proc/nowhere"],
]
OUT_OF_REACH = [
    ["stats", "--database-url", "postgresql://127.0.0.1:1/x"],
    ["project", "list", "--database-url", "postgresql://no-such-host.invalid/x"],
    ["migrate", "status", "--database-url", "postgresql:///x?host=/nowhere"],
    ["events", "tail"],
    ["events", "replay"],
    ["events", "show", "1"],
    ["events", "snapshot"],
    ["commands", "send", "project.deactivate", "{}"],
    ["commands", "dead-letters", "list"],
    ["events", "dead-letters", "list"],
    ["doctor"],
]
CASES = [(2, REFUSED_BY_A_RULE), (1, REFUSED), (3, OUT_OF_REACH)]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [(code, arguments) for code, cases in CASES for arguments in cases],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else str(value),
)
def test_a_mistake_is_one_line_and_the_code_of_its_kind(
    cli: CommandLine, database: str, code: int, arguments: list[str]
) -> None:
    def state() -> list[object]:
        with psycopg.connect(database) as conn:
            return conn.execute("SELECT count(*), max(id) FROM outbox").fetchall()

    before = state()
    done = cli(*arguments)
    assert (done.code, done.out) == (code, ""), done
    assert "Traceback" not in done.err
    ours = [line for line in done.err.splitlines() if line.startswith("imi-registry: ")]
    if ours:
        assert done.err.splitlines() == ours[:1]
        assert len(ours[0]) < 1000
    else:
        assert code == 2  # typer's own, with the usage of the command
        assert done.err.startswith("Usage: ")
    assert state() == before
