"""The command stream in JetStream: who takes commands from it, in which order, and how they are acknowledged.

The stream is a work queue: it holds what is not acknowledged, and allows one consumer. So the consumer is the lead:
who creates it, applies. A new leader deletes the consumer of one that is gone and creates its own, which starts with
the first command that is still there: the order of the stream survives whatever happened to deliveries before.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from publisher.settings import Settings
from publisher.stream.protocol import publish_plain, write
from registry.broker.consumers import consumers_of
from registry.broker.errors import NOT_UNIQUE, translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.own_stream import open_own
from registry.broker.presence import Presence
from registry.broker.pull import GONE_SECONDS, LONGEST_SECONDS, Pull, delivered_of
from registry.errors import Conflict, NotFound
from registry.profiles.profile import Profile

STANDBY_POLL_SECONDS = 0.5
WINDOW = 256
"""Commands taken from the stream and not acknowledged, at most; the server holds back the rest."""
HEADROOM_BYTES = 16 * 1024
"""What a dead letter's own headers may take beside the command, within the server's limit."""
CONSUMER = "imi-applier-"


Said = tuple[str, bytes]
"""Subject and payload of an outcome, or of an acknowledgement."""


class Received(NamedTuple):
    """A message on a command subject."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    sequence: int
    """In the stream."""
    stored_at: datetime
    ack_subject: str

    @property
    def acknowledgement(self) -> Said:
        """What tells the server that a command is done."""
        return self.ack_subject, b""


class CommandStream:
    """The commands of one profile, for one applier at a time."""

    def __init__(self, client: Client, profile: Profile, settings: Settings) -> None:
        self.name = profile.commands.stream
        self._profile = profile
        self._settings = settings
        self._client = client
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._consumer = f"{CONSUMER}{uuid4().hex[:12]}"
        self._pull = Pull(client, self.name, self._consumer, WINDOW)
        self._idle_for: dict[tuple[str, int], float] = {}
        """Seconds of looks, by the leader's consumer and what was delivered to it. Not of a clock: who looks so rarely
        that he was stalled himself has not seen that a leader is gone."""
        self._presence = Presence(client)
        self._leader: ConsumerInfo | None = None
        """The leader's consumer, as it was seen last."""
        self._lost: str | None = None
        """The consumer whose leader is not heard of any longer."""
        self._bound: list[str] = []

    @property
    def profile(self) -> Profile:
        """The names in it; once it is open, as they are spoken there."""
        return self._profile

    async def open(self) -> bool:
        """Find the stream, or create it where it is ours: True. Raises `Conflict`, `NotFound`, `Unavailable`."""
        try:
            with translated_nats(f"cannot open stream {self.name}"):
                await self._presence.show()
                found = (await self._js.stream_info(self.name)).config
        except NotFound:
            if self._profile.is_shared:
                raise NotFound(f"stream {self.name} does not exist; in this profile others create it") from None
        else:
            self._check(found)
        return not self._profile.is_shared and await open_own(self._client, self._wanted())

    async def try_lead(self) -> bool:
        """Take the lead if nobody has it or who has it is gone. Raises `Conflict`, `Unavailable`."""
        return await self._create() or (await self._depose_the_gone() and await self._create())

    async def wait(self) -> None:
        """Wait before the next try to lead, or until it is known that who leads is connected no longer.

        Raises `Unavailable`.
        """
        metadata = (self._leader and self._leader.config.metadata) or {}
        with translated_nats(f"cannot see who takes commands from stream {self.name}"):
            is_over = await self._presence.is_over(metadata, STANDBY_POLL_SECONDS)
            lost = self._leader.name if is_over and self._leader else None
            if lost is not None and lost == self._lost:  # it asks for commands nevertheless
                await asyncio.sleep(STANDBY_POLL_SECONDS)
            self._lost = lost

    async def _create(self) -> bool:
        """Create the consumer, which is the lead; False where another one has it."""
        filters = self._profile.commands.taken_from(self._bound)
        config = ConsumerConfig(
            name=self._consumer,
            durable_name=self._consumer,
            description="The applier of the iMi project registry; it comes and goes with the process that leads",
            filter_subject=filters[0] if len(filters) == 1 else None,
            filter_subjects=filters if len(filters) > 1 else None,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=LONGEST_SECONDS,
            max_ack_pending=WINDOW,
            mem_storage=True,
            metadata=self._presence.metadata,
        )
        with translated_nats(f"cannot take commands from stream {self.name}"):
            try:
                await self._js.add_consumer(self.name, config)
            except nats.js.errors.BadRequestError as error:
                if error.err_code not in NOT_UNIQUE:
                    raise
                return False
        return True

    async def resign(self) -> None:
        """Give up the lead, so that another one need not wait to find out."""
        with suppress(NotFound), translated_nats(f"cannot give up the lead of stream {self.name}"):
            await self._js.delete_consumer(self.name, self._consumer)

    async def take(self) -> None:
        """Ask for commands until cancelled; they come to `next`. Raises `Unavailable`."""
        await self._pull.run()

    async def next(self) -> Received:
        """Wait for the next command of the stream. Raises `Unavailable`: the lead is lost, nothing more comes."""
        message = await self._pull.next()
        metadata = message.metadata
        headers = dict(message.headers or {})
        return Received(
            message.subject, message.data, headers, metadata.sequence.stream, metadata.timestamp, message.reply
        )

    def abandon(self) -> None:
        """End `next`: the connection is gone."""
        self._pull.abandon()

    async def publish(self, said: Iterable[Said]) -> None:
        """Publish outcomes to whoever listens, and acknowledgements, in this order.

        An acknowledgement that is lost with the connection leaves a command the ledger knows.
        """
        with translated_nats(f"cannot answer what came from stream {self.name}"):
            await write(self._client, [publish_plain(*one) for one in said])

    async def terminate(self, received: Received) -> None:
        """Take a message out of the stream for good; returns once that is so."""
        with translated_nats(f"cannot remove message {received.sequence} of stream {self.name}"):
            await self._client.request(received.ack_subject, b"+TERM", timeout=REQUEST_TIMEOUT_SECONDS)

    async def _depose_the_gone(self) -> bool:
        """Delete the consumer of a leader that is connected no longer, or has not asked for commands for a while.

        Returns whether there was one. Of who is not heard of any longer, but asks for commands, it is this server that
        hears nothing: a route is broken, or it was another one who listened.
        Being wrong is harmless: both then hold commands from the first one on and in order, and the ledger lets each
        be applied once.
        """
        with suppress(NotFound), translated_nats(f"cannot see who takes commands from stream {self.name}"):
            found = await consumers_of(self._client, self.name)
            leaders = [info for info in found if info.name.startswith(CONSUMER)]
            if found and not leaders:
                names = ", ".join(info.name for info in found)
                raise Conflict(f"stream {self.name} has consumers that take our commands: {names}; delete them")
            idle = [(info.name, delivered_of(info)) for info in leaders if not info.num_waiting]
            look = STANDBY_POLL_SECONDS
            self._idle_for = {one: self._idle_for.get(one, -look) + look for one in idle}
            gone = [name for (name, _), seconds in self._idle_for.items() if seconds >= GONE_SECONDS]
            gone += [name for name, _ in idle if name == self._lost]
            if gone:
                await self._js.delete_consumer(self.name, gone[0])  # NotFound: another standby was quicker
                return True
            self._leader = next(iter(leaders), None)
        return False

    def _wanted(self) -> StreamConfig:
        """Full, it refuses what comes, so that what it holds is never lost, and a sender knows at once."""
        limits = self._settings
        room = max(self._client.max_payload - HEADROOM_BYTES, self._client.max_payload // 2)
        return StreamConfig(
            name=self.name,
            description="Commands to the iMi project registry that are not carried out yet",
            subjects=[self._profile.commands.filter],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            num_replicas=limits.stream_replicas,
            discard=DiscardPolicy.NEW,
            max_msgs=limits.commands_max_messages,
            max_msgs_per_subject=limits.commands_max_per_sender or -1,
            discard_new_per_subject=limits.commands_max_per_sender > 0,
            max_bytes=limits.commands_max_bytes,
            max_msg_size=min(limits.command_max_bytes, room, limits.commands_max_bytes // 2),
        )

    def _check(self, found: StreamConfig) -> None:
        problems = []
        if found.retention != RetentionPolicy.WORK_QUEUE:
            problems.append(f"retention is {getattr(found.retention, 'value', found.retention)}, expected workqueue")
        if found.sealed or found.mirror is not None:
            problems.append("it takes no messages (sealed, or a mirror)")
        wanted = [self._profile.commands.filter]
        if not self._profile.is_shared and found.subjects != wanted:
            problems.append(f"subjects are {found.subjects}, expected {wanted}")
        if problems:
            raise Conflict(f"stream {self.name} cannot carry commands: {'; '.join(problems)}")
        self._bound = found.subjects or []
        self._profile = self._profile.on_streams(None, self._bound)
