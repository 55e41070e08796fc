"""NATS as the console sees it: one connection, looked at every few seconds."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from publisher.part import Part
from publisher.settings import Settings
from publisher.web.console.sources.health import QuietHealth
from registry.broker.connection import connect_nats
from registry.broker.errors import translated_nats
from registry.broker.stream import bound_subjects
from registry.client.sender import CommandSender
from registry.concurrency.ticks import until_tick
from registry.errors import Conflict, Unavailable
from registry.profiles.profile import Profile, spoken

LOOK_SECONDS = 5.0
ANSWER_SECONDS = 3
SOURCE = "urn:imi:console"
"""Of the commands that are sent here."""


class Broker(Part):
    """The connection, and whether NATS answers."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self.quiet = QuietHealth("console_broker", registry)
        super().__init__(settings, self.quiet, "console")
        self.answer_seconds: float | None = None
        """How long the server took to answer when it was asked last; None while it does not."""
        self._client: Client | None = None
        self._sender: tuple[Client, CommandSender] | None = None
        self.settled.set()

    @property
    def client(self) -> Client:
        """A connected client. Raises `Unavailable` with the reason why there is none."""
        if self._client is None or not self._client.is_connected:
            raise Unavailable(self.quiet.reason() or "NATS was not reached yet")
        return self._client

    @property
    def sender(self) -> CommandSender:
        """Sends commands on the connection. Raises `Unavailable`."""
        client = self.client
        if self._sender is None or self._sender[0] is not client:
            commands = self._profile.commands
            sender = CommandSender(client, commands, SOURCE, self._profile.complete_command)
            self._sender = (client, sender)
        return self._sender[1]

    async def work(self) -> None:
        """Keep the connection, and look every few seconds whether the server answers."""
        lost = asyncio.Event()

        async def on_closed() -> None:
            lost.set()

        async with connect_nats(
            self._nats_url, self._name, self._nats_access, reconnect=False, on_closed=on_closed
        ) as client:
            self._profile = await self._spoken(client)
            self._client = client
            try:
                while not lost.is_set():
                    await self._look(client)
                    await _set_or_time(lost, until_tick(LOOK_SECONDS))
                raise Unavailable("the connection to NATS was lost")
            finally:
                self._client = None
                self.answer_seconds = None

    @property
    def profile(self) -> Profile:
        """The names in the streams, as they are spoken there."""
        return self._profile

    async def _spoken(self, client: Client) -> Profile:
        """The names as they are; relay and applier tell of a stream that does not take them, and end."""
        try:
            return await spoken(self._profile, partial(bound_subjects, client))
        except Conflict:
            return self._profile

    async def _look(self, client: Client) -> None:
        began = perf_counter()
        with translated_nats("NATS does not answer"):
            await client.flush(ANSWER_SECONDS)
        self.answer_seconds = perf_counter() - began
        self.quiet.well()


async def _set_or_time(event: asyncio.Event, seconds: float) -> None:
    """Return when `event` is set, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
