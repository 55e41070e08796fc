"""How commands end that run until they are told to: by each signal, in order, and without a traceback."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from tests.support.processes import COMMAND, environment, run
from tests.support.world import World

PATIENCE_SECONDS = 60


@contextmanager
def following(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs in the block, with pipes to read from, and one to its input that stays open."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_serve_stops_in_order(world: World, number: signal.Signals) -> None:
    with world.process() as serving:
        await serving.ready()
        os.kill(serving.pid, number)
        assert await serving.exit_code() == 0
        lines = serving.log()
    assert [line for line in lines if line.get("level") in {"error", "critical"}] == []
    assert not any("Traceback" in str(line) for line in lines)


def test_under_nohup_a_hangup_is_no_reason_to_stop(world: World) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    settings = environment(DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix)
    with subprocess.Popen(
        [COMMAND[0], "-c", ignoring, *COMMAND, "serve"], stderr=subprocess.PIPE, text=True, env=settings
    ) as serving:
        assert serving.stderr is not None
        try:
            assert any('"ready"' in line for line in serving.stderr)
            serving.send_signal(signal.SIGHUP)
            serving.send_signal(signal.SIGTERM)  # had the first ended it, its code would be another one
            assert serving.wait(PATIENCE_SECONDS) == 0
        finally:
            serving.kill()


async def test_ctrl_c_ends_a_tail_without_a_word_also_when_nats_has_died(state_dir: Path, world: World) -> None:
    with nats_server(state_dir) as server:
        here = world.at(nats_url=server.url)
        # given a tail that has shown an event
        async with here.relay():
            with following("events", "tail", NATS_URL=server.url, IMI_PREFIX=world.prefix) as tail:
                assert tail.stdout is not None
                shown = asyncio.create_task(asyncio.to_thread(tail.stdout.readline))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not shown.done():
                        world.rows(
                            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix)"
                            " VALUES (gen_random_uuid(), 't/', 't-') RETURNING 1"
                        )
                        await asyncio.wait([shown], timeout=0.1)
                # when
                os.kill(server.pid, signal.SIGKILL)
                assert await asyncio.to_thread(server.wait, PATIENCE_SECONDS)
                tail.send_signal(signal.SIGINT)
                _, said = await asyncio.to_thread(tail.communicate, timeout=PATIENCE_SECONDS)
    # then
    assert "worktree_type.added" in await shown
    assert (tail.returncode, said) == (128 + signal.SIGINT, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("arguments", ["tail", "replay --follow"])
async def test_what_follows_ends_without_a_word_by_any_signal(
    world: World, number: signal.Signals, arguments: str
) -> None:
    async with world.relay(), world.history():
        world.write(projects=1, worktrees=1, renames=1)
        await world.drained()
        with following("events", *arguments.split(), NATS_URL=world.nats_url, IMI_PREFIX=world.prefix) as process:
            if arguments == "tail":
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not await _consumers(world):
                        await asyncio.sleep(0.02)
            else:
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline)
            process.send_signal(number)
            _, said = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
    if arguments == "tail":
        assert (process.returncode, said) == (128 + number, "")
    else:  # the token with which it goes on is told, also when something else ends it
        assert process.returncode == 0
        assert said.startswith("continue with: --after ")
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_question_is_ended_by_any_signal_and_nothing_is_done(database: str, number: signal.Signals) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
        with following("project", "deactivate", "p", DATABASE_URL=database) as process:
            assert process.stderr is not None
            asked = ""
            while not asked.endswith("[y/N]: "):
                asked += process.stderr.read(1) or pytest.fail(asked)
            process.send_signal(number)
            assert process.wait(PATIENCE_SECONDS) == 128 + number
            assert "Traceback" not in process.stderr.read()
        assert conn.execute("SELECT active FROM projects").fetchall() == [(True,)]


async def _consumers(world: World) -> int:
    return len(await world.nats.jetstream().consumers_info(world.stream))


def test_the_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"imi-registry {importlib.metadata.version('imi-registry')}\n",
        "",
    )
