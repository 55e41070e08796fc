"""The least relay that is rung: it listens, asks once for what is new, and publishes it. No cursor, no fence.

It waits for no acknowledgement, keeps what it has told in memory, and never goes beyond an id that was rolled back.
What it takes from COMMIT to the stream is what ringing and asking take.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import psycopg
import uvloop

from publisher.outbox.doorbell import LISTEN, set_doorbell
from registry.events.message import EVENT_ID_HEADER, OUTBOX_ID_HEADER

NAME = "the least relay"
NEW = """
SELECT id, event_id, '{"data": ' || data::text || '}' FROM outbox WHERE id > %s AND id <> ALL(%s) ORDER BY id
"""
LAST = "SELECT coalesce(max(id), 0) FROM outbox"
READY = '"ready"'


def command(database_url: str, nats_url: str, subject: str) -> list[str]:
    """What starts it; it says `READY` on standard output."""
    return [sys.executable, "-m", "benchmarks.harness.least_relay", database_url, nats_url, subject]


@asynccontextmanager
async def least_relay(database_url: str, nats_url: str, subject: str) -> AsyncIterator[None]:
    """Its process, from when it is ready to the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *command(database_url, nats_url, subject), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if (await process.stdout.readline()).decode().strip() != READY:
            raise RuntimeError(f"{NAME} ended before it was ready")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _relay(database_url: str, nats_url: str, subject: str) -> None:
    client = await nats.connect(nats_url)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await conn.execute(LISTEN)
        await set_doorbell(conn, is_armed=True)
        row = await (await conn.execute(LAST)).fetchone()
        assert row is not None
        whole: int = row[0]
        print(READY, flush=True)
        told: list[int] = []
        while True:
            await _ring(conn, 1.0)
            for number, event_id, payload in await (await conn.execute(NEW, [whole, told], prepare=True)).fetchall():
                headers = {OUTBOX_ID_HEADER: str(number), EVENT_ID_HEADER: str(event_id)}
                await client.publish(subject, payload.encode(), headers=headers)
                told.append(number)
            while whole + 1 in told:
                whole += 1
                told.remove(whole)


async def _ring(conn: psycopg.AsyncConnection, timeout_seconds: float) -> None:
    """Wait for one. psycopg wakes ten times a second while it waits, so it is asked only when there is something."""
    if await _arrived(conn):
        return
    loop, socket, readable = asyncio.get_running_loop(), conn.fileno(), asyncio.Event()
    loop.add_reader(socket, readable.set)
    try:
        async with asyncio.timeout(timeout_seconds):
            await readable.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(socket)
    await _arrived(conn)


async def _arrived(conn: psycopg.AsyncConnection) -> bool:
    return bool([ring async for ring in conn.notifies(timeout=0, stop_after=1)])


if __name__ == "__main__":
    uvloop.run(_relay(*sys.argv[1:]))
