"""Open the stream a profile publishes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from publisher.settings import Settings
from publisher.stream.event_stream import EventStream
from publisher.stream.shared_stream import SharedStream
from registry.broker.connection import connect_nats
from registry.profiles.profile import Profile


@asynccontextmanager
async def open_stream(nats_url: str, name: str, profile: Profile, settings: Settings) -> AsyncIterator[EventStream]:
    """Connect to NATS as `name` and open the profile's event stream; one of our own is created when absent.

    Raises `Conflict` when the stream's configuration does not fit, `NotFound` when a shared one is missing,
    `Unavailable` when NATS cannot be reached. The connection is not restored when it is lost: every answer still
    awaited raises `Unavailable` at once.
    """
    stream: EventStream | None = None

    async def on_closed() -> None:
        if stream is not None:
            stream.abandon()

    connecting = connect_nats(nats_url, name, settings.nats_access, reconnect=False, on_closed=on_closed)
    async with connecting as client:
        stream = (SharedStream if profile.is_shared else EventStream)(client, profile, settings)
        await stream.open()
        yield stream
