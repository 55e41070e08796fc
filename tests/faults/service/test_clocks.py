"""The clock of the machine on which a service runs is set forward and back: nothing in it waits by the time of day."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path
from time import time
from urllib.request import urlopen

from tests.support.commands import envelope
from tests.support.processes import COMMAND
from tests.support.relay_process import RelayProcess
from tests.support.servers.clock import Clock, needs_faketime
from tests.support.servers.readiness import until_well
from tests.support.world import World

HOUR = 3600
LAST_PUBLISH = re.compile(r"^imi_relay_last_publish_timestamp_seconds (\S+)", re.MULTILINE)
pytestmark = needs_faketime


async def until_seen(process: RelayProcess, world: World, seconds: int) -> None:
    """Publish until the service's own clock, by which it tells when it did last, is so far ahead."""
    url = f"{(await process.ready())['http_url']}/metrics"
    async with asyncio.timeout(60):
        while True:
            world.write(projects=1, worktrees=0, renames=1)
            await world.drained()
            told = LAST_PUBLISH.search(await asyncio.to_thread(lambda: urlopen(url, timeout=5).read().decode()))  # noqa: S310  # the service's own page
            if told is not None and abs(float(told[1]) - time() - seconds) < HOUR / 2:
                return


async def test_a_service_whose_clock_jumps_an_hour_forth_and_back_goes_on_at_once(
    world: World, state_dir: Path
) -> None:
    clock = Clock(state_dir)
    command = ["env", *(f"{name}={value}" for name, value in clock.variables.items()), *COMMAND]
    with ExitStack() as stack:
        leader = stack.enter_context(world.process(command=command))
        await leader.ready()  # it leads before there is another one
        standby = stack.enter_context(world.process())
        await standby.ready()
        led = [process.logged("leading") for process in (leader, standby)]
        for turn, seconds in enumerate((HOUR, 0, -HOUR, 0)):
            # when
            clock.jump(seconds)
            # then
            await until_seen(leader, world, seconds)
            data = {"name": f"c{turn}", "remote_origin": f"git@github.com:a/c{turn}.git"}
            outcome = await world.ask("project.register", envelope("project.register", data))
            assert outcome["verdict"] == "applied"
            await until_well(leader)
        assert [process.logged("leading") for process in (leader, standby)] == led
        await world.assert_exactly_once(at_least=4 * 2)
