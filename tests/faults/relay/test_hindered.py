"""A stream that takes nothing more: publishers hand the lead to each other ever less often, and go on when it does."""

from __future__ import annotations

import asyncio

import pytest

from publisher.relay import relay
from publisher.relay.patience import BEARING_SECONDS, Patience
from tests.support.world import World

CHANGES = 5


@pytest.fixture
def takers(monkeypatch: pytest.MonkeyPatch) -> list[Patience]:
    """Of the standby that took the lead each time, in order."""
    taken: list[Patience] = []

    class Told(Patience):
        def took_over(self) -> None:
            super().took_over()
            taken.append(self)

    monkeypatch.setattr(relay, "Patience", Told)
    return taken


async def test_a_full_stream_is_handed_on_ever_less_often(world: World, takers: list[Patience]) -> None:
    jetstream = world.nats.jetstream()
    async with world.relay(), world.relay():
        # given
        world.write(projects=1, worktrees=0, renames=1)
        await world.drained()
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config.evolve(max_msgs=2, discard="new"))

        # when
        world.write(projects=1, worktrees=0, renames=1)
        borne_seconds = []
        async with asyncio.timeout(120):
            while len(borne_seconds) < CHANGES:
                await asyncio.sleep(0.02)
                borne_seconds += [taker.seconds / 2 for taker in takers[len(borne_seconds) :]]

        # then
        first, second, *more = takers
        assert first is not second, "the leader that was ended led again"
        assert more == [first, second, first]
        assert borne_seconds == [times * BEARING_SECONDS[0] for times in (1, 1, 2, 2, 4)]
        await jetstream.update_stream(config.evolve(max_msgs=-1))
        await world.assert_exactly_once(at_least=4, timeout_seconds=60)
