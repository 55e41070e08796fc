"""A registry and all around it, as a test sees it: a database, a NATS server, a subject prefix of the test's own."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.part import Part
from publisher.query_service import QueryService
from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from publisher.settings import Settings, load, profile_of
from registry.client.replay import replay
from registry.concurrency.tasks import end
from registry.history.pages import Replayed
from registry.position import Start
from registry.profiles import bloodbank
from registry.profiles.profile import Profile
from registry.subjects import Names
from tests.support import audit, commands, histories
from tests.support.relay_process import RelayProcess, relay_process


class Published(NamedTuple):
    """One message of the event stream."""

    sequence: int
    subject: str
    headers: dict[str, str]
    envelope: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class World:
    """What tests share. Services run inside the test's own event loop, but for `process`."""

    database: str
    """URL of a migrated database."""
    nats_url: str
    prefix: str
    nats: Client
    """Connected to `nats_url`."""

    def at(self, **elsewhere: Any) -> World:
        """This world with another database, server or client."""
        return dataclasses.replace(self, **elsewhere)

    def settings(self, **overrides: object) -> Settings:
        """Settings of a service in this world."""
        return load(database_url=self.database, nats_url=self.nats_url, prefix=self.prefix, **overrides)

    @property
    def profile(self) -> Profile:
        """How subjects and streams are named here."""
        return profile_of(self.settings())

    @property
    def names(self) -> Names:
        """Names in the profile imi."""
        return Names(self.prefix)

    @property
    def stream(self) -> str:
        """Name of the event stream."""
        return self.profile.event_stream

    # Services

    @asynccontextmanager
    async def relay(self, **overrides: object) -> AsyncIterator[RelayMetrics]:
        """A relay that leads or stands by inside the block. An error that ends it fails the test."""
        metrics = RelayMetrics()
        relay = Relay(self.settings(**overrides), metrics)
        async with running(relay):
            yield metrics

    @asynccontextmanager
    async def applier(self, **overrides: object) -> AsyncIterator[ApplierMetrics]:
        """An applier that leads or stands by inside the block. An error that ends it fails the test."""
        metrics = ApplierMetrics(CollectorRegistry())
        applier = Applier(self.settings(**overrides), metrics)
        async with running(applier):
            yield metrics

    def history(self, **overrides: object) -> AbstractAsyncContextManager[None]:
        """A history service that answers inside the block."""
        return running(HistoryService(self.settings(**overrides), Health("history", CollectorRegistry())))

    def queries(self, **overrides: object) -> AbstractAsyncContextManager[None]:
        """A query service that answers inside the block."""
        return running(QueryService(self.settings(**overrides), Health("queries", CollectorRegistry())))

    def process(self, **settings: object) -> AbstractContextManager[RelayProcess]:
        """`imi-registry serve` as a process of its own; `settings` become `IMI_…` variables."""
        return relay_process(self.database, self.nats_url, self.prefix, **settings)

    # Events

    async def drained(self, timeout_seconds: float = 120) -> None:
        """Wait until every outbox id that was handed out is published, or dead."""
        await audit.wait_until_published(self.database, self.stream, timeout_seconds)

    async def published(self, stream: str | None = None) -> list[Published]:
        """Everything in the event stream (or in `stream`), in its order."""
        jetstream = self.nats.jetstream()
        name = stream or self.stream
        info = await jetstream.stream_info(name)
        messages = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            raw = await jetstream.get_msg(name, sequence, direct=bool(info.config.allow_direct))
            messages.append(Published(sequence, raw.subject, dict(raw.headers or {}), orjson.loads(raw.data)))
        return messages

    async def replayed(self, start: Start | None = None, **wanted: Any) -> list[Replayed]:
        """Everything that a replay tells until it has caught up."""
        async with asyncio.timeout(30), replay(self.nats, self.profile, start, **wanted) as events:
            return [event async for event in events]

    async def audit(self) -> audit.Audit:
        """What is in the stream beside what is in the outbox."""
        return await audit.audit(self.database, self.nats_url, self.prefix)

    async def assert_exactly_once(
        self, *, foreign: int = 0, at_least: int = 1, timeout_seconds: float = 120
    ) -> audit.Audit:
        """Wait until all is published, then fail unless the stream is what the outbox is."""
        await self.drained(timeout_seconds)
        found = await self.audit()
        found.assert_clean(foreign=foreign, at_least=at_least)
        return found

    async def create_shared_stream(self, **configuration: Any) -> None:
        """The stream that others create, where the profile has one; with what they set besides."""
        if self.profile.is_shared:
            await self.nats.jetstream().add_stream(name=bloodbank.STREAM, subjects=["bloodbank.evt.>"], **configuration)

    async def delete_stream(self) -> None:
        """Let the event stream be lost; where others own it, they create it anew."""
        await self.nats.jetstream().delete_stream(self.stream)
        await self.create_shared_stream()

    async def trim(self, first: int) -> None:
        """Let the event stream begin at sequence `first`, as its limits do."""
        await self.nats.jetstream().purge_stream(self.stream, seq=first)

    @property
    def foreign_subject(self) -> str:
        """A subject of the event stream on which somebody else may publish."""
        if self.profile.is_shared:
            return "bloodbank.evt.workspace.project.updated"
        return f"{self.prefix}.evt.v1.project.updated.-"

    # Commands

    async def send(self, name: str, payload: bytes, sender: str | None = None) -> None:
        """Store a command in the stream, on the subject of `sender` or on that of nobody."""
        await self.nats.jetstream().publish(self.names.commands.command_subject(name, sender), payload)

    async def ask(self, name: str, payload: bytes, sender: str | None = None) -> dict[str, Any]:
        """Send a command with an inbox and return the outcome."""
        inbox = self.nats.new_inbox()
        subscription = await self.nats.subscribe(inbox)
        await self.send(name, orjson.dumps(orjson.loads(payload) | {"replyto": inbox}), sender)
        answer = await subscription.next_msg(timeout=20)
        await subscription.unsubscribe()
        outcome: dict[str, Any] = orjson.loads(answer.data)
        return outcome

    async def commands_done(self, timeout_seconds: float = 120) -> None:
        """Wait until every command is carried out, or a dead letter."""
        async with asyncio.timeout(timeout_seconds):
            while await self.commands_waiting():
                await asyncio.sleep(0.01)

    async def commands_waiting(self) -> int:
        """How many commands nobody has finished."""
        return (await self.nats.jetstream().stream_info(self.names.commands.stream)).state.messages

    def outcome_events(self) -> list[tuple[UUID, str, UUID, str]]:
        """Command id, action, causation id and verdict of every outcome event, in order."""
        return commands.outcome_events(self.database)

    # The database

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return commands.rows(self.database, query, *values)

    def write(self, projects: int = 2, worktrees: int = 2, renames: int = 3) -> list[str]:
        """Some history of a few projects. Returns their ids."""
        return histories.write(self.database, projects, worktrees, renames)


@asynccontextmanager
async def running(part: Part) -> AsyncIterator[None]:
    """A part that runs inside the block, which begins when it has settled.

    An error that ends it fails the test, and so does one that it survives although nobody foresaw it.
    """
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(part.run())
        async with asyncio.timeout(20):
            await part.settled.wait()
        try:
            yield
        finally:
            await end([task])
    assert part.health.crashed == 0, part.health.problems()
