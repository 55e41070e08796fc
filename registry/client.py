"""`RegistryClient`: what a component of the pipeline uses to follow the registry over NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy

from registry.broker import connect_nats, from_nats
from registry.errors import NotFound
from registry.events import check_filter
from registry.subjects import Names


class Delivery(NamedTuple):
    """One event as it arrived: its subject, the bytes of its envelope, and its place in the stream."""

    subject: str
    payload: bytes
    sequence: int


class RegistryClient:
    """A connection to the event stream of one registry; open it with `RegistryClient.connect`."""

    def __init__(self, client: Client, names: Names) -> None:
        self._client = client
        self._names = names

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, nats_url: str, *, prefix: str = "imi", name: str = "imi-client"
    ) -> AsyncIterator[RegistryClient]:
        """Connect to NATS at `nats_url`; lost connections are restored. Raises `Invalid`, `Unavailable`."""
        async with connect_nats(nats_url, name) as client:
            yield cls(client, Names(prefix))

    @asynccontextmanager
    async def tail(
        self, *, entity: str | None = None, action: str | None = None, project_id: UUID | str | None = None
    ) -> AsyncIterator[AsyncIterator[Delivery]]:
        """The events from now on, in order, without gaps over reconnects; None means any.

            async with client.tail(entity="worktree") as events:
                async for event in events:
                    ...

        Raises `Invalid` for a filter no event can match, `NotFound` when there is no event stream yet, `Unavailable`.
        """
        project = None if project_id is None else str(project_id)
        check_filter(entity, action, project)
        stream = self._names.event_stream
        try:
            subscription = await self._client.jetstream().subscribe(
                self._names.event_filter(entity, action, project and str(UUID(project))),
                stream=stream,
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
            )
        except nats.js.errors.NotFoundError as error:
            raise NotFound(f"no stream {stream}: has the publisher been started?") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise from_nats(error, f"cannot subscribe to stream {stream}") from error
        try:
            yield (
                Delivery(message.subject, message.data, message.metadata.sequence.stream)
                async for message in subscription.messages
            )
        finally:
            await subscription.unsubscribe()
