"""A replica that was parted tells an older end of the stream for a while: nobody believes it at once."""

from __future__ import annotations

import pytest

from publisher.outbox.connection import LEADER, connect
from publisher.outbox.lead import try_lead
from publisher.relay import recovery
from publisher.relay.heartbeat import Heartbeat
from publisher.relay.metrics import RelayMetrics
from publisher.relay.recovery import Recovery
from publisher.relay.term import Term
from publisher.stream.event_stream import StreamLost
from publisher.stream.opening import open_stream
from tests.support.world import World


@pytest.mark.parametrize("stale_answers", [1, 3])
async def test_an_older_end_is_believed_when_it_stays_so(
    world: World, monkeypatch: pytest.MonkeyPatch, stale_answers: int
) -> None:
    # given
    world.write()
    async with world.relay():
        await world.drained()
    settings = world.settings()
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 0.01)
    async with (
        connect(world.database, "test", LEADER) as conn,
        open_stream(world.nats_url, "test", world.profile, settings) as stream,
    ):
        cursor = await try_lead(conn, world.stream, "test")
        assert cursor is not None
        asked = stream.last_sequence
        answers = [0] * stale_answers

        async def last_sequence() -> int:
            return answers.pop() if answers else await asked()

        monkeypatch.setattr(stream, "last_sequence", last_sequence)
        term = Term(settings, world.profile, RelayMetrics(), conn, stream, cursor, Heartbeat(conn, cursor, 1.0))
        # when, then
        stream.is_replicated = True
        assert await Recovery(term).run() == 0
        # an end that stays so is lost
        stream.is_replicated = True
        answers = [0] * 1_000_000
        monkeypatch.setattr(recovery, "BELIEVED_SECONDS", 0.1)
        with pytest.raises(StreamLost):
            await Recovery(term).run()
    await world.assert_exactly_once()
