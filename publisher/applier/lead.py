"""The lead among appliers: it is the one consumer that the stream of commands allows.

Who creates it leads. A standby that finds its leader gone deletes it and creates its own, which starts with the first
command that is still there.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy

from registry.broker.connection import check_permitted
from registry.broker.consumers import consumers_of
from registry.broker.errors import NOT_UNIQUE, translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.permitted import api_of
from registry.broker.presence import Presence
from registry.broker.pull import GONE_SECONDS, LONGEST_SECONDS, delivered_of
from registry.errors import Conflict, NotFound, Unavailable

STANDBY_POLL_SECONDS = 0.5
CONSUMER = "imi-applier-"


class Lead:
    """The lead of one stream, as one applier sees it."""

    def __init__(self, client: Client, stream: str, window: int) -> None:
        """`window` bounds what this applier is given and has not acknowledged."""
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._stream = stream
        self.consumer = f"{CONSUMER}{uuid4().hex[:12]}"
        """This applier's, once it leads."""
        self._window = window
        self._presence = Presence(client)
        self._idle_for: dict[tuple[str, int], float] = {}
        """Seconds of looks, by the leader's consumer and what was delivered to it. Not of a clock: who looks so rarely
        that he was stalled himself has not seen that a leader is gone."""
        self._leader: ConsumerInfo | None = None
        """The leader's consumer, as it was seen last."""
        self._unheard: str | None = None
        """The consumer whose leader is not heard of any longer."""
        self._gone: str | None = None
        """The consumer of a leader that is gone."""

    async def show(self) -> None:
        """Let standbys know that this applier is connected, once it leads. Raises what nats-py raises."""
        await self._presence.show()

    async def check(self) -> None:
        """Raise `Unprepared` where this applier may not take commands, or acknowledge them: it is not to lead then."""
        await check_permitted(
            self._client,
            f"cannot take commands from stream {self._stream}",
            [
                f"{api_of(self._client)}.CONSUMER.MSG.NEXT.{self._stream}.{self.consumer}",
                f"$JS.ACK.{self._stream}.{self.consumer}.0.0.0.0.0",
            ],
        )

    async def is_free(self) -> bool:
        """Look once more: whether nobody has the lead, or who has it is gone. Raises `NotFound`, `Unavailable`.

        Gone is who is connected no longer, or has not asked for commands for a while. Of who is not heard of any
        longer, but asks for commands, it is this server that hears nothing: a route is broken, or it was another one
        who listened. Being wrong is harmless: both then hold commands from the first one on and in order, and the
        ledger lets each be applied once.
        """
        leaders = [info for info in await self._consumers() if info.name.startswith(CONSUMER)]
        idle = [(info.name, delivered_of(info)) for info in leaders if not info.num_waiting]
        look = STANDBY_POLL_SECONDS
        self._idle_for = {one: self._idle_for.get(one, -look) + look for one in idle}
        gone = [name for (name, _), seconds in self._idle_for.items() if seconds >= GONE_SECONDS]
        gone += [name for name, _ in idle if name == self._unheard]
        self._leader = next(iter(leaders), None)
        self._gone = next(iter(gone), None)
        return self._leader is None or self._gone is not None

    async def take(self, filters: Sequence[str]) -> bool:
        """Take the lead of the commands of `filters`, which was free; False where another one was quicker.

        Raises `Conflict`, `Unavailable`.
        """
        config = ConsumerConfig(
            name=self.consumer,
            durable_name=self.consumer,
            description="The applier of the iMi project registry; it comes and goes with the process that leads",
            filter_subject=filters[0] if len(filters) == 1 else None,
            filter_subjects=list(filters) if len(filters) > 1 else None,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=LONGEST_SECONDS,
            max_ack_pending=self._window,
            mem_storage=True,
            metadata=self._presence.metadata,
        )
        with translated_nats(f"cannot take commands from stream {self._stream}"):
            try:
                if self._gone is not None:
                    with suppress(nats.js.errors.NotFoundError):
                        await self._js.delete_consumer(self._stream, self._gone)
                await self._js.add_consumer(self._stream, config)
            except nats.js.errors.BadRequestError as error:
                if error.err_code not in NOT_UNIQUE:
                    raise
            else:
                return True
        others = [info.name for info in await self._consumers()]
        if others and not any(name.startswith(CONSUMER) for name in others):
            names = ", ".join(others)
            raise Conflict(f"stream {self._stream} has consumers that take our commands: {names}; delete them")
        return False

    async def wait(self) -> None:
        """Wait before the next look, or until it is known that who leads is connected no longer.

        Raises `Unavailable`.
        """
        metadata = (self._leader and self._leader.config.metadata) or {}
        with translated_nats(f"cannot see who takes commands from stream {self._stream}"):
            is_over = await self._presence.is_over(metadata, STANDBY_POLL_SECONDS)
        unheard = self._leader.name if is_over and self._leader else None
        if unheard is not None and unheard == self._unheard:  # it asks for commands nevertheless
            await asyncio.sleep(STANDBY_POLL_SECONDS)
        self._unheard = unheard

    async def resign(self) -> None:
        """Give up the lead, so that another one need not wait to find out."""
        with suppress(NotFound), translated_nats(f"cannot give up the lead of stream {self._stream}"):
            await self._js.delete_consumer(self._stream, self.consumer)

    async def floor(self) -> int | None:
        """Consumer sequence up to which the server has every acknowledgement; None where it does not tell now."""
        try:
            own = [info for info in await self._consumers() if info.name == self.consumer]
        except Unavailable:
            return None
        return next((info.ack_floor.consumer_seq for info in own if info.ack_floor), None)

    async def _consumers(self) -> list[ConsumerInfo]:
        with translated_nats(f"cannot see who takes commands from stream {self._stream}"):
            return await consumers_of(self._client, self._stream)
