"""`RegistryClient`: what a component of the pipeline uses to change the registry and to follow it, over NATS."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote
from uuid import UUID

from nats.aio.client import Client

from registry.arguments import checked_arguments
from registry.broker.access import ANYBODY, Access
from registry.broker.connection import connect_nats
from registry.broker.durable import checked_durable
from registry.broker.errors import translated_nats
from registry.broker.ordered import OrderedReader, ordered_reader
from registry.broker.stream import bound_subjects
from registry.client.commands import CommandClient
from registry.client.hand import Delivery, Handler
from registry.client.lookup import FoundEvent, find_event
from registry.client.replay import replay
from registry.client.sender import Sending
from registry.client.subscriber import Subscriber
from registry.client.wanted import Wanted
from registry.dead_letters import DeadLetterDesk
from registry.errors import Invalid, NotFound, Unusable
from registry.events.filter import EventFilter
from registry.history.pages import Replayed
from registry.position import Start
from registry.profiles.bloodbank import Shared
from registry.profiles.profile import Profile, profile_named, spoken
from registry.subjects import DEFAULT_SOURCE, Names
from registry.validation import RULES, SENDER, printable

if TYPE_CHECKING:  # imported when they are used: who sends commands and follows events needs no model of a row
    from registry.client.projection import Projection
    from registry.client.queries import QueryClient
    from registry.history.snapshot import Snapshot

__all__ = ["Delivery", "RegistryClient", "Sending"]


MOST_AT_ONCE = 1024
"""Events that a subscription handles at once, at most."""
MOST_ATTEMPTS = 1000
"""With the longest wait between them, eight hours."""


class RegistryClient(CommandClient):
    """A connection to one registry: send commands, follow its events. Open it with `RegistryClient.connect`."""

    def __init__(
        self,
        client: Client,
        profile: Profile,
        source: str,
        names: Names,
        sender: str | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(client, profile.commands, source, profile.complete_command, sender)
        self._profile = profile
        self._names = names
        self._host = host
        self.dead_letters = DeadLetterDesk(client, profile)
        """Events that subscriptions could not handle."""

    @classmethod
    @checked_arguments
    @asynccontextmanager
    async def connect(
        cls,
        nats_url: str,
        *,
        prefix: str = "imi",
        profile: Literal["imi", "bloodbank"] = "imi",
        source: str = DEFAULT_SOURCE,
        grammar: Literal["auto", "plain", "v1"] = "auto",
        proposed: bool = False,
        name: str = "imi-client",
        access: Access = ANYBODY,
        sender: str | None = None,
        host: str | None = None,
    ) -> AsyncIterator[RegistryClient]:
        """Connect to NATS at `nats_url`; lost connections are restored. Raises `Invalid`, `Unavailable`.

        `prefix`, `profile` and `source` are the registry's own settings of these names (on a shared stream, events of
        another source are passed over); nothing is read from the environment. `grammar` and `proposed` are those of
        `IMI_BLOODBANK_GRAMMAR` and `IMI_BLOODBANK_PROPOSED`: without the latter a shared stream has events of worktrees
        alone. `name` tells the server's monitoring, and
        in `source` of each command, who this is. `access` says how the server knows it, and what is wanted of TLS.
        Commands are sent as `sender`, on subjects that end with it and that the server keeps for this user.
        `host` is the name of the host that this is on: paths in commands and queries are those of that one. The first
        registration registers it.
        """
        access.check()
        if sender is not None and not re.fullmatch(SENDER, sender):
            raise Invalid(f"sender: {printable(sender)}: {RULES[SENDER]}")
        if sender is not None and profile == "bloodbank":
            raise Invalid(f"sender: {printable(sender)}: the contract of the shared stream has no subjects of senders")
        naming = profile_named(profile, prefix=prefix, source=source, shared=Shared(grammar, proposed))
        async with connect_nats(nats_url, name, access) as client:
            naming = await spoken(naming, partial(bound_subjects, client))
            yield cls(client, naming, f"urn:imi:client:{quote(name)}", Names(prefix), sender, host)

    @cached_property
    def queries(self) -> QueryClient:
        """What the registry holds, asked over NATS."""
        from registry.client.queries import QueryClient

        return QueryClient(self._client, self._names, host=self._host)

    @checked_arguments
    async def subscribe(
        self,
        handler: Handler,
        *,
        durable: str,
        entity: str | None = None,
        action: str | None = None,
        project_id: UUID | str | None = None,
        host: UUID | str | None = None,
        concurrency: int = 16,
        from_start: bool = False,
        max_attempts: int | None = None,
    ) -> None:
        """Await `handler` for every event, from now on or, `from_start`, from the first one, until cancelled.

        The stream remembers under the name `durable` what was handled. An event is done when the handler returns; when
        it raises, the event is handled again after a while. Events of one project are handled in order, those of
        different ones at once, `concurrency` at most. An event may be handled twice, so handlers must bear that.
        Of several processes with the same `durable` one handles, the others wait to take over.

        With `max_attempts` an event on which the handler fails so often is put aside as a dead letter, and those behind
        it go on; without, they wait. A handler that raises `Unavailable` says that waiting helps: that is not counted.
        Dead letters are looked after with `client.dead_letters`; one that is redelivered comes with
        `delivery.is_redelivered`, out of order.

        Of `host`, an id or a name, which a publisher is asked for, are events of its worktrees, and what was changed
        from it; an event that tells of no host is of the default one. The others are acknowledged unseen.

        Raises `Invalid`, `NotFound` when there is no event stream yet, `Conflict` when `durable` names other events.
        """
        checked_durable(durable)
        if not 1 <= concurrency <= MOST_AT_ONCE:
            raise Invalid(f"concurrency: {concurrency}: it must be 1 to {MOST_AT_ONCE}")
        if max_attempts is not None and not 1 <= max_attempts <= MOST_ATTEMPTS:
            raise Invalid(f"max_attempts: {max_attempts}: it must be 1 to {MOST_ATTEMPTS}")
        host_id = await self._host_id(host)
        wanted = EventFilter.of(entity=entity, action=action, project_id=project_id, host_id=host_id)
        await Subscriber(
            self._client,
            self._profile,
            handler,
            wanted,
            durable=durable,
            concurrency=concurrency,
            from_start=from_start,
            max_attempts=max_attempts,
        ).run()

    @checked_arguments
    @asynccontextmanager
    async def replay(
        self, start: Start | None = None, *, follow: bool = False, until: datetime | int | None = None, **wanted: Any
    ) -> AsyncIterator[AsyncIterator[Replayed]]:
        """The events from `start` on (default: the first there is), in order, each once: see `client/replay.py`.

        async with client.replay(Since(yesterday), entity="worktree", follow=True) as events:
            async for event in events:
                ...
        """
        if "host" in wanted:
            wanted["host_id"] = await self._host_id(wanted.pop("host"))
        async with replay(self._client, self._profile, start, follow=follow, until=until, **wanted) as events:
            yield events

    async def last_sequence(self) -> int:
        """Sequence of the last event in the stream. Raises `NotFound` when there is no stream, `Unavailable`."""
        with translated_nats(f"cannot read stream {self._profile.event_stream}"):
            return (await self._client.jetstream().stream_info(self._profile.event_stream)).state.last_seq

    @checked_arguments
    async def event(self, reference: int | UUID) -> FoundEvent:
        """The event with this sequence in the stream, or with this id; see `client/lookup.py`.

        Raises `NotFound` when there is none or it is no longer kept, `Unavailable`.
        """
        if isinstance(reference, int) and reference < 1:
            raise Invalid(f"event {reference}: a sequence is 1 or more")
        wanted = reference if isinstance(reference, int) else UUID(str(reference))
        return await find_event(self._client, self._profile, wanted)

    async def snapshot(self) -> Snapshot:
        """The state of the registry now; `replay(After(snapshot.position))` gives the events behind it.

        Raises `Unavailable` when no publisher answers.
        """
        from registry.client.snapshot import take_snapshot

        return await take_snapshot(self._client, self._profile)

    @asynccontextmanager
    async def projection(self) -> AsyncIterator[Projection]:
        """A local copy of the registry that is kept up to date for the block. Raises `Unavailable`.

        Raises `Unusable` on a shared stream that has not all events: what they tell would be missing in it.
        """
        if not self._profile.has_all_events:
            raise Unusable(
                f"projection: stream {self._profile.event_stream} has events of worktrees alone, so projects and types "
                "would be those of long ago; take snapshots, or ask with client.queries"
            )
        from registry.client.projection import projection

        async with projection(self._client, self._profile) as kept:
            yield kept

    @checked_arguments
    @asynccontextmanager
    async def tail(
        self,
        *,
        entity: str | None = None,
        action: str | None = None,
        project_id: UUID | str | None = None,
        host: UUID | str | None = None,
    ) -> AsyncIterator[AsyncIterator[Delivery]]:
        """The events from now on, in order, without gaps over reconnects; None means any.

            async with client.tail(entity="worktree") as events:
                async for event in events:
                    ...

        Raises `Invalid` for a filter no event can match, `NotFound` when there is no event stream yet, `Unavailable`.
        """
        host_id = await self._host_id(host)
        asked = EventFilter.of(entity=entity, action=action, project_id=project_id, host_id=host_id)
        wanted = Wanted(self._profile, asked)
        opening = ordered_reader(
            self._client,
            self._profile.event_stream,
            wanted.subject,
            patience_seconds=None,
            keeps_sequences=not self._profile.is_shared,
        )
        async with opening as reader:
            _, last = await reader.state()
            await reader.start(last)
            yield _deliveries(reader, wanted)

    async def _host_id(self, host: UUID | str | None) -> UUID | None:
        """The id of a host, itself or by its name. Raises `NotFound`, `Unavailable` when no publisher answers."""
        if host is None or isinstance(host, UUID):
            return host
        try:
            return UUID(host)
        except ValueError:
            pass
        known = await self.queries.hosts()
        named = [one.id for one in known if one.name == host.lower()]
        named += [one.id for one in known if host.lower() in one.former_names]
        if not named:
            raise NotFound(f"host {printable(host)} is none of {', '.join(one.name for one in known)}")
        return named[0]


async def _deliveries(reader: OrderedReader, wanted: Wanted) -> AsyncIterator[Delivery]:
    while True:
        for message in await reader.next():
            if wanted.has(message.headers, message.payload):
                yield Delivery(message.subject, message.payload, message.sequence)
