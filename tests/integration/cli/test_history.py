"""The commands of history as people and scripts use them: output, exit codes, one line for what is refused."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from nats import connect

from tests.support.commandline import CommandLine, command_line
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until
from tests.support.world import World


@pytest.fixture
def cli(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """The command line on this test's own database and stream."""
    return command_line(
        monkeypatch,
        capsys,
        DATABASE_URL=world.database,
        NATS_URL=world.nats_url,
        IMI_PREFIX=world.prefix,
        IMI_STATE_DIR=str(tmp_path / "none"),
    )


@pytest.fixture
def service(world: World) -> Iterator[list[str]]:
    """A running `serve` that has published some history; yields project ids."""
    projects = world.write()
    with world.process(), psycopg.connect(world.database, autocommit=True) as conn:
        query = "SELECT count(*) FROM outbox WHERE NOT EXISTS (SELECT FROM publisher_cursor WHERE published @> id)"
        wait_until(lambda: conn.execute(query).fetchone() == (0,))
        yield projects


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_replay_prints_one_envelope_a_line_and_ends(cli: CommandLine, service: list[str]) -> None:
    everything = lines(cli("events", "replay", "--json").out)

    assert len(everything) > 8
    assert lines(cli("events", "replay", "--from-start", "--json").out) == everything
    assert lines(cli("events", "replay", "--from-sequence", 5, "--json").out) == everything[4:]
    assert lines(cli("events", "replay", "--last", 2, "--json").out) == everything[-2:]
    assert lines(cli("events", "replay", "--since", "1h", "--until", 3, "--json").out) == everything[:3]
    assert lines(cli("events", "replay", "--since", "2020-01-01", "--json").out) == everything
    assert lines(cli("events", "replay", "--until", "2020-01-01T10:00:00Z", "--json").out) == []
    assert lines(cli("events", "replay", "--pace", "original", "--last", 3, "--json").out) == everything[-3:]
    ours = [event for event in everything if event.get("partitionkey") == service[0]]
    assert lines(cli("events", "replay", "--project", service[0], "--json").out) == ours
    created = cli("events", "replay", "--entity", "worktree", "--action", "created", "--agent", "agent-1", "--json")
    assert len(lines(created.out)) == 2


def test_replay_for_people_ends_with_the_token_to_go_on_with(cli: CommandLine, service: list[str]) -> None:
    done = cli("events", "replay", "--until", 4)

    assert len(done.out.splitlines()) == 4
    assert all(len(line) <= 80 for line in done.out.splitlines())
    token = done.err.split("--after ")[1].strip()
    assert lines(cli("events", "replay", "--after", token, "--json").out) == lines(
        cli("events", "replay", "--from-sequence", 5, "--json").out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--last", "2", "--from-start"], "give one of --from-start, --since"),
        (["--since", "yesterday"], 'time "yesterday" is neither ISO 8601'),
        (["--follow", "--until", "3"], "give follow or until, not both"),
        (["--until", "0"], 'until sequence "0" is not 1 or more'),
        (["--until", "9" * 5000], "is not 1 or more, 9223372036854775807 at most"),
        (["--after", "x"], 'resume token "x" is none'),
        (["--entity", "x"], 'entity "x" is none of'),
        (["--correlation", "x"], 'correlation "x" is not a UUID'),
    ],
)
def test_a_replay_that_cannot_be_meant_is_a_mistake_of_usage(
    cli: CommandLine, service: list[str], arguments: list[str], message: str
) -> None:
    done = cli("events", "replay", *arguments)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert message in done.err


def test_a_replay_that_begins_behind_the_end_is_refused(cli: CommandLine, service: list[str]) -> None:
    done = cli("events", "replay", "--from-sequence", "9999")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "beyond the end of the stream" in done.err


def test_events_of_a_project_are_asked_for_as_elsewhere(cli: CommandLine, service: list[str]) -> None:
    project = cli("project", "show", service[0], "--json").json
    ours = cli("events", "replay", "--project", service[0], "--json").out
    assert ours
    for reference in (project["name"], project["remote_origin"], service[0][:9]):
        assert cli("events", "replay", "--project", reference, "--json").out == ours, reference
    for command in ("replay", "tail"):
        unknown = cli("events", command, "--project", "pp0")
        assert (unknown.code, 'no project "pp0"; did you mean "p0"' in unknown.err) == (1, True)


def test_a_replay_that_follows_is_interrupted_with_the_token_to_go_on_with(
    cli: CommandLine, world: World, service: list[str]
) -> None:
    following = subprocess.Popen(
        [*COMMAND, "events", "replay", "--last", "1", "--follow"],
        env=environment(NATS_URL=world.nats_url, IMI_PREFIX=world.prefix, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    following.stdout.readline()
    following.send_signal(signal.SIGINT)

    _, told = following.communicate(timeout=20)
    token = told.split("--after ")[1].strip()
    assert lines(cli("events", "replay", "--after", token, "--json").out) == []


def test_replay_for_people_says_that_nothing_matches(cli: CommandLine, service: list[str]) -> None:
    done = cli("events", "replay", "--agent", "nobody")
    assert (done.code, done.out, done.err.strip()) == (0, "", "no event matches")
    assert cli("events", "replay", "--agent", "nobody", "--json").err == ""


def test_a_snapshot_names_the_position_behind_it(cli: CommandLine, service: list[str]) -> None:
    state = cli("events", "snapshot", "--json").json

    assert sorted(project["id"] for project in state["projects"]) == sorted(service)
    assert (len(state["worktrees"]), len(state["types"])) == (4, 6)
    assert lines(cli("events", "replay", "--after", state["position"], "--json").out) == []
    assert "2 projects" in cli("events", "snapshot").out


def test_history_of_one_thing(cli: CommandLine, service: list[str]) -> None:
    shown = cli("history", "show", "project", service[0]).out.splitlines()

    assert len(shown) == 4
    assert "description=number 2" in shown[-1]
    told = cli("history", "show", "project", "p0", "--json").json
    assert told[1]["changed"]["description"] == {"before": None, "after": "number 0"}
    assert "description: number 1 → number 2" in cli("history", "show", "project", "p0", "--diff").out
    assert cli("history", "show", "project", "p0", "--as-of", "0s", "--json").json["description"] == "number 2"
    done = cli("history", "show", "project", "p0", "--as-of", "1h")
    assert (done.code, "was not there before" in done.err) == (1, True)
    assert cli("history", "show", "worktree", "nothing").code == 1
    assert all(line == line.rstrip() for line in shown)
    done = cli("history", "show", "project", "p0", "--as-of", "0s", "--diff")
    assert (done.code, "give one of them" in done.err) == (2, True)


def test_verify_and_doctor_say_that_all_is_well_or_exit_1(cli: CommandLine, database: str, service: list[str]) -> None:
    assert cli("history", "verify").code == 0
    assert cli("history", "verify", "--json").json["differences"] == []
    assert cli("doctor").code == 0
    assert all(finding["is_well"] for finding in cli("doctor", "--json").json)

    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE projects DISABLE TRIGGER USER")
        conn.execute("UPDATE projects SET name = 'other' WHERE name = 'p0'")
        conn.execute("INSERT INTO publisher_cursor (stream) VALUES ('OLD')")

    done = cli("history", "verify")
    assert (done.code, "the events tell 'p0'" in done.err) == (1, True)
    done = cli("doctor")
    assert (done.code, "!!  stream OLD was fed from this database, too" in done.out) == (1, True)


def test_doctor_names_dead_letters(cli: CommandLine, service: list[str], nats_url: str, prefix: str) -> None:
    assert "no dead letters" in cli("doctor").out

    async def send_nonsense() -> None:
        client = await connect(nats_url)
        await client.jetstream().publish(f"{prefix}.cmd.v1.project.register", b"no JSON")
        await client.close()

    asyncio.run(send_nonsense())
    wait_until(lambda: cli("commands", "dead-letters", "list", "--json").out)
    done = cli("doctor")
    assert (done.code, "!!  1 dead letter waits" in done.out) == (1, True)


def test_rebuild_stream_is_refused_while_a_publisher_leads(cli: CommandLine, service: list[str]) -> None:
    done = cli("rebuild-stream")
    assert (done.code, "a publisher leads" in done.err) == (1, True)


def test_export_and_import_from_the_command_line(cli: CommandLine, service: list[str], tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl.zst"

    assert "events exported" in cli("events", "export", file).err
    assert file.stat().st_size > 100
    done = cli("events", "import", file)
    assert (done.code, "the registry is not empty" in done.err) == (1, True)


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local zone of the machine."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC", "Pacific/Chatham"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_a_time_that_was_printed_can_be_given_back(cli: CommandLine, service: list[str]) -> None:
    everything = cli("events", "replay", "--json").out.splitlines()
    (worktree, *_) = cli("worktree", "list", "--all", "--json").json
    for command in (
        ("events", "replay", "--last", len(everything)),
        ("history", "show", "project", service[0]),
        ("worktree", "show", worktree["id"]),
        ("project", "show", service[0]),
    ):
        for option, ending in (((), r"[+-]\d\d(?::\d\d)?"), (("--utc",), "Z")):
            printed = re.findall(rf"\d{{4}}-\d\d-\d\dT[0-9:.]+?(?:{ending})(?!\d)", cli(*command, *option).out)
            assert printed, command
            since = cli("events", "replay", "--since", min(printed), "--json").out.splitlines()
            assert since, (command, printed)
            assert since == everything[-len(since) :]
            if command[0] == "events":
                assert since == everything


@pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_tables_tell_the_zone_of_their_times(cli: CommandLine, service: list[str]) -> None:
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    worktree = cli("worktree", "list", "--all", "--json").json[0]["id"]
    cli("activity", "log", "other", "x", "--worktree", worktree)
    assert re.search(rf"{pattern}-0[45]", cli("activity", "list").out)
    assert re.search(rf"{pattern}Z", cli("activity", "list", "--utc").out)
    assert re.search(rf"{pattern}-0[45]", cli("migrate", "status").out)
