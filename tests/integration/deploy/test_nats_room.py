"""What an account outside of the registry's may take of the store: so much of each kind, and events go on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from publisher.embedded.binaries import nats_binary
from registry.broker.connection import connect_nats
from registry.client import Access
from tests.support.nats.deployed import APART, DEPLOY, TEAMS, Deployed, deployed_server, service
from tests.support.nats.old import OLDEST, VERSIONS, old_nats_binary
from tests.support.world import World

OUTSIDE = tuple(f"{user}_operator" for user in APART)
"""Who may do anything in an account that has JetStream."""
CHUNK = bytes(4 * 1024 * 1024)
MOST = 130
"""Of anything, and beyond each limit here."""
FULL = {"file": 10002, "memory": 10002, "streams": 10027, "consumers": 10026}
"""What the server says, by what there is no more of."""
NO_JETSTREAM = 10039
BATCHES_OF_A_STREAM, BATCHES_OF_A_SERVER = 50, 1000
"""Open at a time, as nats-server has it from 2.12 on."""


@pytest.fixture(scope="module", params=(OLDEST, VERSIONS[-1]))
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    binary = old_nats_binary(request.param)
    with deployed_server(has_teams=True, is_apart=True, is_small=True, binary=binary) as server:
        yield server


async def told(client: Client, subject: str, payload: bytes) -> int:
    """The code of the error that a request is answered with; 0 for none."""
    answer: dict[str, Any] = json.loads((await client.request(subject, payload, timeout=60)).data)
    return int(answer.get("error", {}).get("err_code", 0))


async def stream(client: Client, name: str, storage: str = "file") -> int:
    config = {"name": name, "subjects": [name], "storage": storage, "retention": "limits", "num_replicas": 1}
    return await told(client, f"$JS.API.STREAM.CREATE.{name}", json.dumps(config).encode())


async def made(client: Client, kind: str) -> AsyncIterator[int]:
    """One more of `kind` each time; the code of the error."""
    if kind != "streams":
        assert await stream(client, "own", "memory" if kind == "memory" else "file") == 0
    for number in count():
        match kind:
            case "streams":
                yield await stream(client, f"own-{number}")
            case "consumers":
                config = {"name": f"c{number}", "durable_name": f"c{number}", "ack_policy": "explicit"}
                asked = json.dumps({"stream_name": "own", "config": config}).encode()
                yield await told(client, f"$JS.API.CONSUMER.CREATE.own.c{number}", asked)
            case _:
                yield await told(client, "own", CHUNK)


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("user", OUTSIDE)
async def test_an_account_outside_takes_its_part_of_the_store_and_events_go_on(
    there: World, deployed: Deployed, user: str, kind: str
) -> None:
    access = Access(**deployed.access(user) | {"js_domain": None})
    async with service(there, deployed), connect_nats(deployed.url, "test", access) as client:
        there.write(1)
        await there.drained()
        try:
            codes = []
            async for code in made(client, kind):
                codes.append(code)
                if code or len(codes) == MOST:
                    break
            assert codes[-1] == FULL[kind], f"{len(codes)} and no end"
            assert len(codes) > 1

            there.write(1)
            await there.drained()
        finally:
            for own in await client.jetstream().streams_info():
                await client.jetstream().delete_stream(own.config.name)


@pytest.mark.parametrize("team", TEAMS)
async def test_a_team_has_no_streams_of_its_own(there: World, deployed: Deployed, team: str) -> None:
    access = Access(**deployed.access(team) | {"js_domain": None})
    async with service(there, deployed), connect_nats(deployed.url, "test", access) as client:
        assert await stream(client, "own") == NO_JETSTREAM


def test_a_server_that_has_less_than_its_accounts_may_take_does_not_start(deployed: Deployed, tmp_path: Path) -> None:
    for file in deployed.folder.glob("*.conf"):
        shutil.copy(file, tmp_path)
    local = (tmp_path / "local.conf").read_text()
    less = re.sub(r"(NATS_MAX_FILE_STORE) = \S+", r"\1 = 1GB", local)
    (tmp_path / "local.conf").write_text(less.replace(str(deployed.folder / "nats"), str(tmp_path / "nats")))
    started = subprocess.run(
        [nats_binary(), "-c", tmp_path / "nats.conf"], capture_output=True, text=True, timeout=60, check=False
    )
    assert started.returncode != 0
    assert "insufficient storage resources available" in started.stderr


def test_every_account_that_has_jetstream_has_a_limit() -> None:
    files = sorted(file for file in DEPLOY.parent.rglob("*.conf*") if file.is_file())
    accounts = [given for file in files for given in re.findall(r"jetstream:\s*(\{[^}]*\}|\S+)", file.read_text())]
    assert len(accounts) == 1 + len(OUTSIDE) + 1, "with the one that a team may have"
    for given in accounts:
        assert {"max_file", "max_mem", "max_consumers"} <= set(re.findall(r"\w+", given)), given


def test_accounts_outside_cannot_have_all_batches_open_that_a_server_has() -> None:
    files = [(DEPLOY / f"{name}.conf.example").read_text() for name in ("teams", "apart")]
    streams = [int(most) for file in files for most in re.findall(r"max_streams: (\d+)", file)]
    assert len(streams) == len(OUTSIDE) + 1
    assert sum(streams) * BATCHES_OF_A_STREAM < BATCHES_OF_A_SERVER - BATCHES_OF_A_STREAM
