"""Who sends commands by the configuration in deploy/nats has its own share of the stream of commands, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack

import orjson
import pytest
from nats.js.api import StreamInfo

from publisher.doctor.stream_settings import limits_of, stream_settings_findings
from registry.broker.connection import connect_nats, flushed
from registry.broker.errors import STORE_FAILED
from registry.client import Access
from registry.commands.catalogue import COMMANDS
from registry.errors import Busy
from tests.support.commands import PROJECT, envelope
from tests.support.nats.command_limits import WAYS, command_limits
from tests.support.nats.deployed import Deployed, deployed_server
from tests.support.nats.outsiders import outsider
from tests.support.world import World

MOST, SIZE = 3, 16 * 1024
FLOOD = 5
"""Commands of each kind."""
KEEPS_THE_RULE = 2 * len(COMMANDS) * MOST * SIZE


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with deployed_server(has_teams=True) as server:
        yield server


async def test_one_sender_has_its_share_of_each_kind_of_command_and_no_more(there: World, deployed: Deployed) -> None:
    """Of each kind some, of the largest size, and no kind that there is not: the rule in docs/nats.md."""
    most, size = 3, 64 * 1024
    room = len(COMMANDS) * most * size + size
    limits = {"commands_max_per_sender": most, "command_max_bytes": size, "commands_max_bytes": room}
    async with there.applier(**deployed.settings("applier"), **limits):
        pass  # it has made the stream
    subjects = [f"imi.cmd.v1.{kind}" for kind in (*COMMANDS, *(f"kind.{number}" for number in range(100)))]
    async with connect_nats(deployed.url, "outsider", Access(**deployed.access("command"))) as outsider:
        for _ in range(2 * most):
            for subject in subjects:
                await outsider.publish(f"{subject}.command", bytes(size - 512))
                await outsider.publish(subject, b"{}")
        await flushed(outsider)

    held = (await there.nats.jetstream().stream_info("IMI_COMMANDS", subjects_filter=">")).state.subjects
    assert held == {f"imi.cmd.v1.{kind}.command": most for kind in COMMANDS}
    async with deployed.client("flume") as other:
        await other.post("project.register", PROJECT)  # else Busy


async def info(there: World) -> StreamInfo:
    return await there.nats.jetstream().stream_info("IMI_COMMANDS")


async def flooded(deployed: Deployed) -> dict[str, Counter[int]]:
    """Send the largest commands of all kinds as one sender, in turn; what the server said of each: 0, or its error."""
    said: dict[str, Counter[int]] = {kind: Counter() for kind in COMMANDS}
    async with outsider(deployed, "command") as client:
        for _ in range(FLOOD):
            for kind in COMMANDS:
                least = len(envelope(kind, {"x": ""}))
                largest = envelope(kind, {"x": "y" * (SIZE - least)})
                answer = await client.request(f"imi.cmd.v1.{kind}.command", largest, timeout=10)
                said[kind][orjson.loads(answer.data).get("error", {}).get("err_code", 0)] += 1
    return said


@pytest.mark.parametrize("away", ["applier", "PostgreSQL"])
async def test_who_floods_with_the_largest_commands_is_busy_and_others_are_carried_out(
    there: World, deployed: Deployed, away: str
) -> None:
    # given
    limits = {"commands_max_per_sender": MOST, "command_max_bytes": SIZE, "commands_max_bytes": KEEPS_THE_RULE}
    applier = deployed.settings("applier") | limits
    async with there.applier(**applier):
        found = await info(there)
    assert limits_of(found.config, there.nats.max_payload).leave_bytes

    # when
    elsewhere = there.at(database="postgresql:///imi_registry?host=/nowhere")
    async with AsyncExitStack() as stack:
        if away == "PostgreSQL":
            await stack.enter_async_context(elsewhere.applier(**applier))
        said = await flooded(deployed)

        # then
        assert said == {kind: {0: MOST, STORE_FAILED: FLOOD - MOST} for kind in COMMANDS}
        assert (await info(there)).state.bytes > len(COMMANDS) * MOST * SIZE, "the server counts more than the commands"
        async with deployed.client("command") as flood:
            with pytest.raises(Busy):
                await flood.post("project.register", PROJECT)
        async with deployed.client("flume") as other:
            for number in range(MOST):
                large = {
                    "name": "flume",
                    "remote_origin": f"git@github.com:o/p{number}.git",
                    "metadata": {"x": "y" * 15_000},
                }
                await other.post("project.register", large)

    async with there.applier(**applier):
        await there.commands_done()
    assert there.rows("SELECT count(*) FROM projects WHERE name = 'flume'") == [(MOST,)]
    assert there.rows("SELECT count(*) FROM command_ledger") == [(len(COMMANDS) * MOST + MOST,)]


async def test_without_the_rule_the_largest_commands_of_one_sender_fill_the_stream(
    there: World, deployed: Deployed
) -> None:
    room = KEEPS_THE_RULE // 4
    limits = {"commands_max_per_sender": MOST, "command_max_bytes": SIZE, "commands_max_bytes": room}
    async with there.applier(**deployed.settings("applier"), **limits):
        found = await info(there)
    assert not limits_of(found.config, there.nats.max_payload).leave_bytes

    said = await flooded(deployed)

    assert sum(codes[0] for codes in said.values()) < len(COMMANDS) * MOST
    async with deployed.client("flume") as other:
        with pytest.raises(Busy):
            await other.post("project.register", PROJECT | {"metadata": {"x": "y" * 15_000}})


@pytest.mark.parametrize("way", WAYS)
async def test_the_limits_of_deploy_fit_into_the_account_and_doctor_has_nothing_to_say(
    there: World, deployed: Deployed, way: str
) -> None:
    limits = command_limits(way)
    async with there.applier(**deployed.settings("applier"), **limits):
        config = (await info(there)).config
    assert (config.max_bytes, config.max_msg_size, config.max_msgs_per_subject) == (
        limits["commands_max_bytes"],
        limits["command_max_bytes"],
        limits["commands_max_per_sender"],
    )
    assert await stream_settings_findings(there.nats, there.settings(**deployed.settings("operator"))) == []
