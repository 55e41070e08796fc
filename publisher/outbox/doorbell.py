"""The doorbell: writers wake the leader as they commit, but only while it rests."""

from __future__ import annotations

import asyncio

from psycopg import AsyncConnection

from publisher.outbox.connection import translated

CHANNEL = "imi_outbox"


async def set_doorbell(conn: AsyncConnection, *, is_armed: bool) -> None:
    """While the doorbell is armed, each transaction that writes an event notifies `CHANNEL` as it commits."""
    with translated():
        await conn.execute("SELECT setval('public.publisher_doorbell', %s)", [int(is_armed)])


async def listen(conn: AsyncConnection) -> None:
    """Receive the notifications that an armed doorbell causes."""
    with translated():
        await conn.execute(f"LISTEN {CHANNEL}")


async def wait_for_ring(conn: AsyncConnection, timeout_seconds: float) -> bool:
    """Wait until the doorbell rings: True; or for `timeout_seconds`: False. Raises `Unavailable`.

    psycopg wakes ten times a second while it waits for notifications, so it is asked only when there is something.
    """
    with translated():
        if await _arrived(conn):
            return True
        return await _is_readable(conn, timeout_seconds) and await _arrived(conn)


async def _arrived(conn: AsyncConnection) -> bool:
    return bool([ring async for ring in conn.notifies(timeout=0, stop_after=1)])


async def _is_readable(conn: AsyncConnection, timeout_seconds: float) -> bool:
    """Whether the server said something, or closed the connection, within `timeout_seconds`."""
    loop, socket, readable = asyncio.get_running_loop(), conn.fileno(), asyncio.Event()
    loop.add_reader(socket, readable.set)
    try:
        async with asyncio.timeout(timeout_seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(socket)
    return True
