"""The command stream in JetStream: in which order commands are taken from it, and how they are acknowledged.

The stream is a work queue: it holds what is not acknowledged, and allows one consumer, which is the lead (`lead.py`).
That of a new leader starts with the first command that is still there: the order of the stream survives whatever
happened to deliveries before.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from publisher.applier.lead import Lead
from publisher.settings import Settings
from publisher.stream.protocol import publish_plain, write
from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.own_stream import open_own
from registry.broker.pull import Pull
from registry.errors import Conflict, NotFound, Unavailable
from registry.profiles.profile import Profile

WINDOW = 256
"""Commands taken from the stream and not acknowledged, at most; the server holds back the rest."""
HEADROOM_BYTES = 16 * 1024
"""What a dead letter's own headers may take beside the command, within the server's limit."""
LOOK_SECONDS = 5.0
"""So often the server is asked which acknowledgements it has, while there were any."""


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
        self.lead = Lead(client, self.name, WINDOW)
        self._pull = Pull(client, self.name, self.lead.consumer, WINDOW)
        self._unacknowledged: dict[str, int] = {}
        """Consumer sequence of what was taken and not acknowledged, in that order, by the subject for it."""
        self._taken = 0
        """Consumer sequence of the last one that was taken."""
        self._bound: list[str] = []

    @property
    def profile(self) -> Profile:
        """The names in it; once it is open, as they are spoken there."""
        return self._profile

    async def open(self) -> bool:
        """Find the stream, or create it where it is ours: True. Raises `Conflict`, `NotFound`, `Unavailable`.

        Whoever lacks a permission to lead is told so here: he neither stands by nor leads for a moment.
        """
        await self.lead.check()
        try:
            with translated_nats(f"cannot open stream {self.name}"):
                await self.lead.show()
                found = (await self._js.stream_info(self.name)).config
        except NotFound:
            if self._profile.is_shared:
                raise NotFound(f"stream {self.name} does not exist; in this profile others create it") from None
        else:
            self._check(found)
        return not self._profile.is_shared and await open_own(self._client, self._wanted())

    async def take_lead(self) -> bool:
        """Take the lead, which was free; False where another one was quicker. Raises `Conflict`, `Unavailable`.

        Who has stood by may lack a permission by now that he had when he began to.
        """
        await self.lead.check()
        return await self.lead.take(self._profile.commands.taken_from(self._bound))

    async def take(self) -> None:
        """Ask for commands until cancelled; they come to `next`. Raises `Unavailable`."""
        await self._pull.run()

    async def next(self) -> Received:
        """Wait for the next command of the stream. Raises `Unavailable`: the lead is lost, nothing more comes."""
        message = await self._pull.next()
        metadata = message.metadata
        headers = dict(message.headers or {})
        self._taken = self._unacknowledged[message.reply] = metadata.sequence.consumer
        return Received(
            message.subject, message.data, headers, metadata.sequence.stream, metadata.timestamp, message.reply
        )

    def abandon(self) -> None:
        """End `next`: the connection is gone."""
        self._pull.abandon()

    async def publish(self, said: Iterable[Said]) -> None:
        """Publish outcomes to whoever listens, and acknowledgements, in this order.

        An acknowledgement that is lost leaves a command the ledger knows; `compare` finds it.
        """
        said = list(said)
        with translated_nats(f"cannot answer what came from stream {self.name}"):
            await write(self._client, [publish_plain(*one) for one in said])
        for subject, _ in said:
            self._unacknowledged.pop(subject, None)

    async def terminate(self, received: Received) -> None:
        """Take a message out of the stream for good; returns once that is so."""
        with translated_nats(f"cannot remove message {received.sequence} of stream {self.name}"):
            await self._client.request(received.ack_subject, b"+TERM", timeout=REQUEST_TIMEOUT_SECONDS)
        self._unacknowledged.pop(received.ack_subject, None)

    async def compare(self) -> None:
        """Raise `Unavailable` when the server did not get an acknowledgement, as on a route that breaks.

        It tells what it knows now; compared with what was sent before the last look, nothing is merely on its way.
        """
        told = acknowledged = 0
        while True:
            if told < self._acknowledged:
                floor = await self.lead.floor()
                if floor is not None and floor < acknowledged:
                    raise Unavailable(
                        f"acknowledgements to stream {self.name} were lost: it has {floor} of {acknowledged}"
                    )
                told = told if floor is None else floor
            acknowledged = self._acknowledged
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def _acknowledged(self) -> int:
        """Consumer sequence of the delivery up to which all that were taken are acknowledged."""
        return next(iter(self._unacknowledged.values()), self._taken + 1) - 1

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
