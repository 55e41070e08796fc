"""The parts of which one leads and one stands by: which one leads, and how it is seen that one does its work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from time import monotonic
from typing import NamedTuple
from urllib.request import urlopen
from uuid import uuid4

from nats.aio.msg import Msg
from psycopg import AsyncConnection

from registry.client import RegistryClient, Sending
from tests.faults.suite.entries import Command, Entry
from tests.faults.suite.history import COMMANDED, Notes
from tests.faults.suite.installation import APPLIERS, PREFIX, PUBLISHERS, Installation
from tests.faults.suite.markers import mark, subject_of_markers
from tests.faults.suite.writers import COMMAND_ROWS, CONNECT, send
from tests.support.nats.reading import connected

LEADER = "SELECT leader FROM publisher_cursor"
PATIENT = Sending(timeout=60)
Work = Callable[[], Awaitable[None]]
"""Has a leader do its work once, and returns when it is done."""


async def leading_publisher(there: Installation) -> str | None:
    """Its name; None where none has led, or its process is gone."""
    async with await AsyncConnection.connect(there.database.url, **CONNECT) as conn:
        found = await (await conn.execute(LEADER)).fetchone()
    names = [
        name
        for name in PUBLISHERS
        if found is not None and str(found[0]).endswith(f" {there.parties[name].process.pid}")
    ]
    return names[0] if names else None


async def leading_applier(there: Installation) -> str | None:
    """Its name; None where none leads, or one that was followed does not know yet."""
    leading = [name for name in APPLIERS if await _leads(there, name)]
    return leading[0] if len(leading) == 1 else None


async def _leads(there: Installation, name: str) -> bool:
    url = f"{(await there.parties[name].process.ready())['http_url']}/metrics"
    told = await asyncio.to_thread(lambda: urlopen(url, timeout=5).read().decode())  # noqa: S310  # its own page
    return "\nimi_applier_leader 1.0\n" in told


@asynccontextmanager
async def _publishing(there: Installation) -> AsyncIterator[Work]:
    """A change is made, and published."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def note(message: Msg) -> None:
        arrived.put_nowait(message.data)

    async def publish() -> None:
        text = (await mark(there.database.url)).text.encode()
        while text not in await arrived.get():
            pass

    async with connected(there.cluster.url) as client:
        await client.subscribe(subject_of_markers(there), cb=note)
        await client.flush()
        yield publish


@asynccontextmanager
async def _applying(there: Installation) -> AsyncIterator[Work]:
    """A command is sent, and its outcome comes."""
    numbers, notes = count(2, 2), Notes(there.folder, COMMANDED)

    async def apply() -> None:
        entry = Entry(COMMAND_ROWS[0], next(numbers), uuid4().hex[:12])
        command, sent_at = Command(str(uuid4()), entry, "applied"), monotonic()
        outcome = await send(client, command, PATIENT)
        notes.add(**command._asdict(), outcome=outcome, sent_at=sent_at, answered_at=monotonic())
        assert outcome == "applied"

    async with RegistryClient.connect(there.cluster.url, prefix=PREFIX, name="takeover") as client:
        yield apply
    notes.close()


class Part(NamedTuple):
    """Two processes of which one leads."""

    name: str
    parties: tuple[str, ...]
    leader: Callable[[Installation], Awaitable[str | None]]
    working: Callable[[Installation], AbstractAsyncContextManager[Work]]


PUBLISHER = Part("publisher", PUBLISHERS, leading_publisher, _publishing)
APPLIER = Part("applier", APPLIERS, leading_applier, _applying)
