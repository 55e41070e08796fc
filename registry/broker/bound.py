"""What is bound to a stream: its subjects, as its owner has them."""

from __future__ import annotations

from nats.aio.client import Client

from registry.broker.errors import translated_nats
from registry.errors import NotFound, Unprepared


async def bound_subjects(client: Client, stream: str) -> list[str] | None:
    """The subjects of a stream; None where there is no such stream, or this account may not look at it.

    Raises `Unavailable`.
    """
    try:
        with translated_nats(f"cannot look at stream {stream}"):
            return list((await client.jetstream().stream_info(stream)).config.subjects or [])
    except (NotFound, Unprepared):
        return None
