"""The source of a mirror: how it is reached, which registry it is, and where its stream stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from uuid import UUID

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StreamInfo

from publisher.settings import Settings
from registry.broker.access import Access, OtherAccess
from registry.broker.answers import raise_refusal
from registry.broker.connection import CONNECT_TIMEOUT_SECONDS, connect_nats, servers_in
from registry.broker.errors import no_stream, translated_nats
from registry.broker.silence import PORT
from registry.client.history import REQUEST_TIMEOUT_SECONDS
from registry.client.queries import QueryClient
from registry.client.whole import ask_site
from registry.errors import Conflict, Invalid, RegistryError
from registry.history.site import Site, site_subject
from registry.profiles.imi import ImiProfile
from registry.profiles.profile import Profile
from registry.subjects import Names

PORTS = {"ws": 80, "wss": 443}
"""Of URLs that name none, where it is not that of NATS."""


class Source:
    """A connection to the source. Open it with `connect_source`."""

    def __init__(self, client: Client, profile: Profile, prefix: str) -> None:
        self.client = client
        self.profile = profile
        self.queries = QueryClient(client, Names(prefix))

    async def site(self) -> Site:
        """Which registry it is. Raises `Unavailable` when no publisher of it answers."""
        return await ask_site(self.client, self.profile)

    async def word(self) -> str | None:
        """What a publisher of it says, if only that it refuses to; None where none says anything.

        Raises `Unavailable` where none can be asked.
        """
        subject = site_subject(self.profile)
        with translated_nats(f"cannot ask on {subject}"):
            try:
                answer = await self.client.request(subject, b"", timeout=REQUEST_TIMEOUT_SECONDS)
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                return None
        try:
            raise_refusal(answer.headers)
            return f"its last event has sequence {Site.decode(answer.data).sequence}"
        except RegistryError as error:
            return str(error)

    async def last_sequence(self) -> int:
        """Of the stream. Raises `NotFound` when there is none, `Unavailable`."""
        return (await self._info()).state.last_seq

    async def check_stream(self, name: str) -> None:
        """Raise `Conflict` for a stream with `sources`, which numbers what it gathers itself. `name` is the source's.

        Raises `NotFound` when there is none, `Unavailable`.
        """
        if (await self._info()).config.sources:
            raise Conflict(
                f"stream {self.profile.event_stream} has sources: its sequences are not those of {name}; let it be a "
                "mirror of the source's stream (nats stream add --mirror), and name it in IMI_MIRROR_STREAM"
            )

    async def event_id_at(self, sequence: int) -> UUID | None:
        """Id of the event at a sequence of the stream; None where it holds none there. Raises `Unavailable`."""
        stream = self.profile.event_stream
        if not sequence:
            return None
        with translated_nats(f"cannot read stream {stream}"):
            try:
                message = await self.client.jetstream().get_msg(stream, sequence)
            except nats.js.errors.NotFoundError:
                return None
        _, event_id = self.profile.identity(message.headers or {})
        return None if event_id is None else UUID(event_id)

    async def _info(self) -> StreamInfo:
        stream = self.profile.event_stream
        with translated_nats(f"cannot read stream {stream}"):
            try:
                return await self.client.jetstream().stream_info(stream)
            except nats.js.errors.NotFoundError:
                raise no_stream(stream) from None


def source_profile(settings: Settings) -> Profile:
    """The names of the source's events. Raises `Invalid`."""
    if settings.profile != "imi":
        raise Invalid(f'setting profile: value "{settings.profile}": a mirror needs all events, which profile imi has')
    profile = ImiProfile(settings.mirror_prefix, settings.source)
    if settings.mirror_stream is not None:
        profile.event_stream = settings.mirror_stream
    return profile


def source_access(settings: Settings) -> Access:
    """Who the mirror is at the source's NATS; the settings `nats_…` are of its own."""
    return OtherAccess(
        prefix="mirror_",
        creds=settings.mirror_nats_creds,
        tls_ca=settings.mirror_nats_tls_ca,
        inbox_prefix=settings.mirror_inbox_prefix,
        js_domain=settings.mirror_js_domain,
    )


def check_source_settings(settings: Settings) -> None:
    """Raise `Invalid` for settings, and files that they name, with which no source is reached."""
    if not settings.mirror_nats_url:
        raise Invalid("setting mirror_nats_url: missing; set IMI_MIRROR_NATS_URL to the NATS server of the source")
    source_profile(settings)
    access = source_access(settings)
    access.check()
    servers_in(settings.mirror_nats_url, access)


@asynccontextmanager
async def connect_source(settings: Settings, name: str) -> AsyncIterator[Source]:
    """Connect to the source for the block. Raises `Invalid`, `Unavailable`."""
    check_source_settings(settings)
    async with connect_nats(settings.mirror_nats_url or "", name, source_access(settings)) as client:
        yield Source(client, source_profile(settings), settings.mirror_prefix)


async def is_gone(settings: Settings) -> bool:
    """Whether each server of the source's NATS refuses connections, or takes none in time.

    A name that leads nowhere tells nothing of a server, nor does one that does not let this client in.
    """
    for server in servers_in(settings.mirror_nats_url or "", source_access(settings)):
        url = urlsplit(server)
        place = (url.hostname or "", url.port or PORTS.get(url.scheme, PORT))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await asyncio.get_running_loop().getaddrinfo(*place)
        except OSError:  # a TimeoutError is one
            return False
        with suppress(OSError):
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(*place)
            writer.transport.abort()
            return False
    return True
