"""Who sends commands by the configuration in deploy/nats has its own share of the stream of commands, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.broker.connection import connect_nats, flushed
from registry.client import Access
from registry.commands.catalogue import COMMANDS
from tests.support.commands import PROJECT
from tests.support.nats.deployed import Deployed, deployed_server
from tests.support.world import World


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
