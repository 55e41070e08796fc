"""Taking a snapshot over NATS: the publisher sends it in chunks, each confirmed (`registry/history/snapshot.py`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from nats.aio.client import Client

from registry.broker.answers import raise_refusal
from registry.broker.connection import flushed
from registry.broker.errors import translated_nats
from registry.broker.permitted import unless_refused
from registry.concurrency.collector import collector_at_rest
from registry.errors import RegistryError, Unavailable
from registry.history.pages import NOT_READ
from registry.history.snapshot import END, Snapshot, grouped_lines, snapshot_subject
from registry.position import Position
from registry.profiles.profile import Profile

CHUNK_TIMEOUT_SECONDS = 30.0


async def take_snapshot(client: Client, profile: Profile) -> Snapshot:
    """The state as of now. Raises `Unavailable` when no publisher answers or it stops in the middle.

    The collector rests meanwhile: between two chunks it would look at all rows before them, which hold no cycles, for a
    third of the time.
    """
    with collector_at_rest():
        async with aclosing(snapshot_pieces(client, snapshot_subject(profile))) as pieces:
            groups = grouped_lines(pieces)
            first, *lines = await anext(groups)
            snapshot = Snapshot(position=_position(first))
            while END not in lines:
                snapshot.put_lines(lines)
                lines = await anext(groups)
            snapshot.put_lines(lines[: lines.index(END)])
            return snapshot


def _position(line: bytes) -> Position:
    try:
        return Position.parse(orjson.loads(line)["position"])
    except NOT_READ as error:
        raise RegistryError("snapshot: the answer is none that this version knows") from error


async def snapshot_pieces(client: Client, subject: str, request: bytes = b"") -> AsyncGenerator[bytes, None]:
    """What a publisher sends, chunk by chunk; it has no end but that which its lines tell. Raises `Unavailable`."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        with translated_nats("cannot take a snapshot"):
            await flushed(client)
            await client.publish(subject, request, reply=inbox)
            while True:
                coming = subscription.next_msg(timeout=CHUNK_TIMEOUT_SECONDS)
                message = await unless_refused(client, subject, inbox, coming)
                headers = message.headers or {}
                if headers.get("Status") == "503":
                    raise Unavailable(f"no publisher answers on {subject}: start imi-registry up or serve")
                raise_refusal(headers)
                if message.reply:
                    await message.respond(b"")
                yield message.data
    finally:
        await subscription.unsubscribe()
