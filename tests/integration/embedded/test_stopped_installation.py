"""What is done to an installation of `up` while it does not run: a lost stream is rebuilt, a history imported."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
import psycopg
import pytest

from tests.support.commandline import CommandLine, command_line
from tests.support.histories import write
from tests.support.servers.up import stop, up

REBUILD = "imi-registry rebuild-stream (with the --state-dir of up, if it had one)"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, with no setting made."""
    return command_line(monkeypatch, capsys)


def replay(cli: CommandLine, nats_url: str) -> list[str]:
    """The whole history, one envelope a line."""
    done = cli("events", "replay", "--json", "--nats-url", nats_url)
    assert done.code == 0, done.err
    return done.out.splitlines()


def history(cli: CommandLine, endpoints: dict[str, str]) -> list[str]:
    """Write something; what a replay tells once all of it is published."""
    write(endpoints["database_url"])
    with psycopg.connect(endpoints["database_url"]) as conn:
        (events,) = conn.execute("SELECT count(*) FROM outbox").fetchone() or (0,)
    while len(told := replay(cli, endpoints["nats_url"])) < events:
        pass
    return told


def delete_stream(nats_url: str) -> None:
    async def delete() -> None:
        client = await nats.connect(nats_url)
        await client.jetstream().delete_stream("IMI_EVENTS")
        await client.close()

    asyncio.run(delete())


def test_a_lost_stream_of_up_is_rebuilt_by_the_command_that_it_names(cli: CommandLine, state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        before = history(cli, endpoints)
        delete_stream(endpoints["nats_url"])
        done = cli("events", "replay", "--nats-url", endpoints["nats_url"])
        assert (done.code, "imi-registry doctor tells what to do" in done.err) == (1, True)
        done = cli("doctor", "--state-dir", state_dir)
        assert (done.code, f"is gone: stop up or serve, then {REBUILD}" in done.out) == (1, True)
        done = cli("rebuild-stream", "--state-dir", state_dir)
        assert (done.code, "IMI_EVENTS: stop up or serve, then rebuild" in done.err) == (1, True)
        write(endpoints["database_url"], 1)  # makes it notice
        assert process.wait(30) == 1
        assert f"publish it again with: {REBUILD}" in process.communicate()[1]
    done = cli("doctor", "--state-dir", state_dir)
    assert (done.code, f"stop up or serve, then {REBUILD}" in done.out) == (1, True)
    done = cli("rebuild-stream", "--state-dir", state_dir)
    assert (done.code, f"IMI_EVENTS: {len(before)} events published, 1 to {len(before)}\n" in done.out) == (0, True)

    with up(state_dir) as (process, endpoints):
        assert history(cli, endpoints)[: len(before)] == before
        assert cli("doctor", "--state-dir", state_dir).code == 0
        assert stop(process) == 0


def test_after_a_sudden_death_of_up_its_servers_are_found_all_the_same(cli: CommandLine, state_dir: Path) -> None:
    with up(state_dir) as (process, endpoints):
        history(cli, endpoints)
        process.kill()
        process.wait()
        done = cli("doctor", "--state-dir", state_dir)

    assert "ok  stream IMI_EVENTS ends at sequence 12, as it should" in done.out


def test_a_history_imported_into_a_new_folder_is_that_of_the_next_up(cli: CommandLine, state_dir: Path) -> None:
    old, new, file = state_dir / "a", state_dir / "b", state_dir / "history.jsonl.zst"

    with up(old) as (process, endpoints):
        before = history(cli, endpoints)
        done = cli("events", "export", state_dir / "while-it-runs", "--state-dir", old)
        assert done.err == f"{len(before)} events exported\n"
        assert stop(process) == 0
    done = cli("events", "export", file, "--state-dir", old)
    assert (done.code, done.err) == (0, f"{len(before)} events exported\n")
    done = cli("events", "import", file, "--state-dir", new)
    assert (done.code, done.err) == (
        0,
        f"{len(before)} events imported; publish them with: imi-registry rebuild-stream --state-dir {new}\n",
    )
    assert cli("rebuild-stream", "--state-dir", new).code == 0

    with up(new) as (process, endpoints):
        assert replay(cli, endpoints["nats_url"]) == before
        assert stop(process) == 0


def test_a_folder_that_is_named_is_meant_whatever_the_environment_says(
    cli: CommandLine, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a history, and an environment that names servers which are not there
    old, new, file = state_dir / "a", state_dir / "b", state_dir / "history.jsonl"
    with up(old) as (process, endpoints):
        before = history(cli, endpoints)
        assert stop(process) == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nobody")
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    # then
    for command, told in (("doctor", f"ends at sequence {len(before)},"), ("phantoms", "holds every event")):
        done = cli(command, "--state-dir", old)
        assert told in done.out, done.err
    assert cli("events", "export", file, "--state-dir", old).code == 0
    done = cli("events", "import", file, "--state-dir", new)
    assert (done.code, done.err.endswith(f"rebuild-stream --state-dir {new}\n")) == (0, True)
    done = cli("rebuild-stream", "--state-dir", new)
    assert (done.code, f" {len(before)} events published" in done.out) == (0, True)
    # and a variable names no folder against the URLs
    monkeypatch.setenv("IMI_STATE_DIR", str(old))
    assert cli("doctor").code == 3


def test_a_folder_without_servers_is_refused_and_stays_as_it_is(cli: CommandLine, state_dir: Path) -> None:
    for command in ("doctor", "rebuild-stream"):
        done = cli(command, "--state-dir", state_dir / "x")
        assert (done.code, len(done.err.splitlines())) == (1, 1)
        assert done.err.endswith("is not the state directory of an imi-registry up\n")
    done = cli("events", "import", state_dir / "no-file", "--state-dir", state_dir / "x")
    assert (done.code, "cannot read" in done.err) == (1, True)
    assert list(state_dir.iterdir()) == []
