"""Taking a whole snapshot over NATS, and asking which registry it is that answers (`registry/history/site.py`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from nats.aio.client import Client

from registry.client.history import ask
from registry.client.snapshot import snapshot_pieces
from registry.history.site import END, WHOLE, Site, WholeHead, site_subject
from registry.history.snapshot import snapshot_subject
from registry.profiles.profile import Profile

MOST_HEAD_BYTES = 64 * 1024
"""Read of an answer before its first line must have ended."""


async def ask_site(client: Client, profile: Profile) -> Site:
    """Which registry it is. Raises `Unavailable` when no publisher answers."""
    return Site.decode(await ask(client, site_subject(profile), b""))


@asynccontextmanager
async def whole_snapshot(client: Client, profile: Profile) -> AsyncIterator[tuple[WholeHead, AsyncIterator[bytes]]]:
    """All tables as of now: their position, and their rows in pieces for COPY. Raises `Unavailable`."""
    async with aclosing(snapshot_pieces(client, snapshot_subject(profile), WHOLE)) as pieces:
        text = b""
        while b"\n" not in text and len(text) <= MOST_HEAD_BYTES:
            text += await anext(pieces)
        line, _, rest = text.partition(b"\n")
        async with aclosing(_rows(b"\n" + rest, pieces)) as rows:
            yield WholeHead.decode(line), rows


async def _rows(begun: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """What comes before the end. `begun` begins with a line end, which is no part of it: the end may be next."""
    held, is_first = begun, True
    while not held.endswith(END):
        told, held = held[: -len(END)], held[-len(END) :]
        if told:
            yield told[1:] if is_first else told
            is_first = False
        held += await anext(pieces)
    told = held[: 1 - len(END)]
    yield told[1:] if is_first else told
