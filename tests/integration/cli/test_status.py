"""`imi-registry status`: one screen that says what waits, who is behind and what is not well."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from nats import connect
from nats.js.api import ConsumerConfig

from tests.support.commandline import CommandLine, command_line
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until
from tests.support.world import World


@pytest.fixture
def cli(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(
        monkeypatch, capsys, DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix, COLUMNS="80"
    )


def test_before_during_and_after_a_service(world: World, cli: CommandLine, tmp_path: Path) -> None:
    world.write()
    before = cli("status")
    assert before.code == 1
    assert "publisher  none so far" in before.out
    assert f"{world.stream} is not there" in before.out
    assert "not well" in before.out

    with world.process():
        wait_until(lambda: cli("status").code == 0)
        with psycopg.connect(world.database) as conn:
            (written,) = conn.execute("SELECT count(*) FROM outbox").fetchone() or (0,)
        wait_until(lambda: cli("status", "--json").json["levels"]["imi_stream_messages"][world.stream] >= written)
        asyncio.run(add_consumer(world))
        found = cli("status")
        levels = cli("status", "--json").json["levels"]
    assert (found.code, found.err) == (0, "")
    assert max(map(len, found.out.splitlines())) <= 80
    assert f"{world.stream}: {levels['imi_stream_messages'][world.stream]:,.0f} events" in found.out
    assert "behind: janitor " in found.out
    assert "nothing is found here; imi-registry doctor looks closer" in found.out

    with psycopg.connect(world.database, autocommit=True) as conn:
        conn.execute("SELECT register_project('later', 'https://github.com/org/later')")
    after = cli("status")
    assert "wait, the oldest for" in after.out
    assert cli("status", "--json").json["levels"]["imi_outbox_waiting_events"] >= 1


async def add_consumer(world: World) -> None:
    client = await connect(world.nats_url)
    await client.jetstream().add_consumer(world.stream, ConsumerConfig(durable_name="janitor"))
    await client.close()


def test_a_table_that_somebody_has_locked_is_told_and_not_waited_for(world: World, cli: CommandLine) -> None:
    with psycopg.connect(world.database) as stranger:
        stranger.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        pid = stranger.info.backend_pid
        found = cli("status")
        told = json.loads(cli("status", "--json").out)
    assert (found.code, found.err) == (1, "")
    assert "database   cannot be read now" in found.out
    assert f"pid {pid} " in found.out
    assert "has locked outbox" in told["problems"][0]
    assert told["registry"] is None


@pytest.fixture
def silent() -> Iterator[str]:
    """Where connections are taken, and no word is said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def ending() -> Iterator[str]:
    """Where each connection is ended at once."""

    class End(socketserver.BaseRequestHandler):
        pass

    with socketserver.TCPServer(("127.0.0.1", 0), End) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """Where nobody listens."""
    return "127.0.0.1:1"


@pytest.mark.parametrize("place", ["nobody", "silent", "ending"])
@pytest.mark.parametrize("server", ["PostgreSQL", "NATS"])
def test_a_server_that_does_not_answer_is_named_with_the_reason(
    cli: CommandLine, request: pytest.FixtureRequest, place: str, server: str
) -> None:
    away = str(request.getfixturevalue(place))
    url = {"PostgreSQL": f"--database-url=postgresql://{away}/x", "NATS": f"--nats-url=nats://{away}"}[server]

    done = cli("status", url)

    assert (done.code, done.out) == (3, "")
    (line,) = done.err.splitlines()
    assert line.startswith("imi-registry: ")
    assert server in line
    assert away in line.replace('", port ', ":")  # as libpq says it


def test_doctor_watched_tells_a_look_a_line(world: World) -> None:
    """Until it is ended."""
    command = [*COMMAND, "doctor", "--watch", "--json"]
    places = environment(DATABASE_URL=world.database, NATS_URL=world.nats_url, IMI_PREFIX=world.prefix)
    with subprocess.Popen(command, env=places, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert [finding["check"] for finding in looks[0]] == ["servers", "publisher"]
    assert looks[0] == looks[1]
