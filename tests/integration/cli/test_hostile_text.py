"""Text from outside on a terminal: each character that one obeys, in each field, printed by each command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from nats import connect

from tests.support.commandline import CommandLine, Done, command_line
from tests.support.git.repositories import checkout, commit, git
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until
from tests.support.world import World

UNSAFE = [chr(number) for number in range(0x2070) if unicodedata.category(chr(number)) in ("Cc", "Zl", "Zp")]
UNSAFE += [chr(number) for number in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
TEXT = "a" + "".join(UNSAFE).replace("\0", "") + "z"
WORD = "".join(character for character in TEXT if not character.isspace())


@pytest.fixture
def cli(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    servers = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    return command_line(monkeypatch, capsys, COLUMNS="2000", **servers)


@pytest.fixture
def ids(world: World) -> Iterator[dict[str, str]]:
    """A registry whose every text is hostile, with its service, and dead letters."""
    given = {"text": TEXT, "word": WORD, "path": f"/{TEXT}", "metadata": json.dumps({TEXT: TEXT})}
    with world.process(), psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT set_config('imi.actor', %(text)s, false)", given)
        query = """
            SELECT register_project(%(text)s, 'git@github.com:a/b.git', %(word)s, %(path)s, %(metadata)s)::text,
                add_worktree_type(%(word)s, %(word)s, %(text)s, %(text)s, NULL, %(text)s, %(metadata)s)::text
        """
        ids = dict(zip(("project", "type"), conn.execute(query, given).fetchone() or (), strict=True))
        conn.execute("UPDATE projects SET description = %(text)s", given)
        query = "SELECT register_worktree(%(project)s, %(word)s, %(text)s, %(word)s, %(path)s, %(text)s, %(metadata)s)"
        (worktree,) = conn.execute(query, given | ids).fetchone() or ("",)
        ids["worktree"] = str(worktree)
        conn.execute("SELECT update_worktree_git_state(%(worktree)s, NULL, 2, 1, 1, 'abc', %(text)s)", given | ids)
        conn.execute("SELECT log_activity(%(text)s, %(worktree)s, 'other', %(text)s, %(text)s)", given | ids)
        published = "SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT FROM publisher_cursor WHERE published @> id)"
        wait_until(lambda: conn.execute(published).fetchone() == (0,))
        yield ids


def commands(ids: dict[str, str]) -> list[list[str]]:
    """Every command that reads, and one that fails with each text in its message."""
    nobody = (
        ["project", "show", TEXT + "nobody"],
        ["worktree", "show", TEXT + "nobody"],
        ["project", "show", f"./{TEXT}"],
    )
    usage = ["sync", TEXT], [TEXT], ["stats", TEXT], ["project", "list", f"--{TEXT}"], ["events", "show", TEXT]
    return [
        *(["project", "list"], ["project", "show", ids["project"]], ["path", ids["project"]]),
        *(
            ["path", ids["project"], TEXT],
            ["worktree", "list"],
            ["worktree", "show", ids["worktree"]],
            ["type", "list"],
        ),
        *(["activity", "list"], ["inflight"], ["search", TEXT], ["stats"], ["doctor"], ["status"]),
        *(["migrate", "status"], ["config", "show"], ["import-sqlite", TEXT]),
        *(["history", "show", "project", ids["project"]], ["history", "show", "worktree", ids["worktree"], "--diff"]),
        *(["history", "verify"], ["events", "replay"], ["events", "snapshot"], ["events", "show", "1"]),
        *(["events", "show", "3"], ["events", "export", "-"]),
        *(["commands", "send", "worktree.claim", json.dumps({"worktree_id": ids["worktree"], "agent_id": "other"})],),
        *(["commands", "send", TEXT, "{}"], ["commands", "send", "project.update", json.dumps({TEXT: TEXT})]),
        *(["worktree", "claim", ids["worktree"], "--agent", "other"], ["type", "remove", WORD, "--yes"]),
        *(["worktree", "update", ids["worktree"], "--branch", TEXT], ["activity", "list", "--project", TEXT]),
        *(["schemas", "show", TEXT], ["events", "replay", "--after", TEXT], ["events", "replay", "--since", TEXT]),
        *(*nobody, *usage),
    ]


WITH_JSON = ["project", "worktree", "type", "activity", "inflight", "search", "history", "events", "commands"]


def assert_shown(done: Done, command: list[str]) -> None:
    left = set(done.out + done.err) & set(UNSAFE) - {"\n"}
    assert left == set(), (command, left)


@pytest.fixture
def terminal(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line at a terminal, which has no colours."""

    def call(*arguments: object, stdin: str = "") -> Done:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout.isatty", lambda: True)
            patched.setattr("sys.stderr.isatty", lambda: True)
            return cli(*arguments, stdin=stdin)

    return call


def test_a_terminal_is_shown_every_character_by_every_command(terminal: CommandLine, ids: dict[str, str]) -> None:
    for command in commands(ids):
        done = terminal(*command)
        assert done.out + done.err
        assert_shown(done, command)
        assert len(done.err.splitlines()) <= 6, done.err  # the usage of a command, and one line


def test_json_is_the_same_with_its_characters_escaped(
    terminal: CommandLine, cli: CommandLine, ids: dict[str, str]
) -> None:
    for command in commands(ids):
        if command[0] not in WITH_JSON or command[:2] in (["events", "export"], ["type", "remove"]):
            continue
        for done in (terminal(*command, "--json"), cli(*command, "--json")):
            assert_shown(done, command)
            for line in done.out.splitlines():
                json.loads(line)
    assert terminal("project", "list", "--json").json[0]["name"] == TEXT
    assert json.loads(terminal("events", "replay", "--json").out.splitlines()[0])["actor"] == TEXT
    exported = terminal("events", "export", "-").out.splitlines()
    assert json.loads(exported[0])["data"]["name"] == TEXT


def test_a_path_in_a_pipe_has_every_byte(world: World, ids: dict[str, str]) -> None:
    for encoding in ("utf-8", "ascii"):
        variables = environment(DATABASE_URL=world.database, PYTHONIOENCODING=encoding)
        done = subprocess.run([*COMMAND, "path", ids["project"]], env=variables, capture_output=True, check=True)
        assert done.stdout == f"/{TEXT}\n".encode()


def test_json_is_json_in_every_encoding(world: World, ids: dict[str, str]) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("UPDATE projects SET name = 'größe 🚀'")
    variables = environment(DATABASE_URL=world.database, PYTHONIOENCODING="ascii")
    done = subprocess.run([*COMMAND, "project", "list", "--json"], env=variables, capture_output=True, check=True)
    assert json.loads(done.stdout)[0]["name"] == "größe 🚀"


def test_a_sync_shows_folders_branches_and_what_git_says(
    terminal: CommandLine, ids: dict[str, str], tmp_path: Path
) -> None:
    name = WORD.replace("/", "") + "[red]x[/blue]"
    main = checkout(tmp_path / "code" / name, "git@github.com:a/other.git")
    commit(main, TEXT)
    broken = tmp_path / "code" / f"{name}-broken"
    shutil.copytree(main, broken)
    (broken / ".git" / "config").write_text(f"[{TEXT}")
    detached = checkout(tmp_path / "code" / f"{name}-detached", "git@github.com:a/third.git")
    git(detached, "checkout", "--quiet", "--detach")
    for options in ([], ["--json"]):
        done = terminal("sync", tmp_path / "code", *options)
        assert done.code == 1
        assert_shown(done, options)
    assert_shown(terminal("worktree", "list"), [])


def test_the_progress_of_a_sync_is_safe_on_a_terminal_with_colours(world: World, tmp_path: Path) -> None:
    # given names that are markup, or a command to the terminal
    for name in ("z[/nope]", "[red]x", "a\x1b]52;c;eA==\x07b"):
        checkout(tmp_path / "code" / name, f"git@github.com:a/{len(name)}.git")
    ours, theirs = pty.openpty()
    variables = environment(DATABASE_URL=world.database) | {"TERM": "xterm-256color", "HOME": str(tmp_path)}
    # when
    process = subprocess.Popen(
        [*COMMAND, "sync", str(tmp_path / "code")], env=variables, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # Linux: the other end is closed
        while chunk := os.read(ours, 65536):
            written += chunk
    os.close(ours)
    # then
    assert process.wait() == 0, written
    assert b"checkouts" in written
    assert b"\x1b]52" not in written


def test_dead_letters_are_shown(terminal: CommandLine, ids: dict[str, str], world: World) -> None:
    async def send() -> None:
        payload = json.dumps({"id": TEXT, "data": {TEXT: TEXT}}, ensure_ascii=False).encode()
        async with await connect(world.nats_url) as client:
            await client.jetstream().publish(world.names.commands.command_subject("project.register"), payload)

    asyncio.run(send())
    wait_until(lambda: terminal("commands", "dead-letters", "list", "--json").out)
    for command in (["list"], ["show", "1"], ["list", "--json"], ["show", "1", "--json"], ["drop", "1"]):
        assert_shown(terminal("commands", "dead-letters", *command), command)
