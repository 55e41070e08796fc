"""Stream and back: a call waits in a work queue, is carried out, answered and acknowledged.

Calls that wait go together, as many in one transaction as commands do. Nothing is written down, or the ledger and the
outcome event. The rest is what a command has beyond it: keys, retries, dead letters, models.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import UUID, uuid4

import nats
import orjson
import psycopg
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from psycopg.types.json import Jsonb

from benchmarks.harness.servers import new_prefix
from publisher.applier.command_stream import WINDOW
from publisher.applier.workers import MOST_TOGETHER, TOGETHER

CALLS = """
SELECT update_worktree_git_state((call ->> 'worktree')::uuid, p_ahead := (call ->> 'ahead')::int)
FROM jsonb_array_elements(%s) AS call
"""
NOTED = """
SELECT applied.verdict
FROM jsonb_array_elements(%s) AS call
CROSS JOIN LATERAL apply_command(
    (call ->> 'id')::uuid,
    'worktree.update_git_state',
    jsonb_build_object('worktree_id', call ->> 'worktree', 'ahead', call -> 'ahead'),
    sha256(convert_to(call ->> 'id', 'UTF8')),
    (call ->> 'id')::uuid
) AS applied
"""
READY = b"ready\n"


class Caller:
    """Sends calls over one connection, and waits for the answer of each."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client = client
        self._subject = subject
        self._inbox = client.new_inbox()
        self._numbers = count()
        self._awaited: dict[str, asyncio.Future[None]] = {}

    async def listen(self) -> None:
        """Receive the answers to all calls."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def call(self, worktree: UUID, ahead: int) -> None:
        """Have one worktree updated. That the stream holds the call is not waited for: the answer tells it."""
        reply_to = f"{self._inbox}.{next(self._numbers)}"
        self._awaited[reply_to] = answer = asyncio.get_running_loop().create_future()
        said = {"id": str(uuid4()), "worktree": str(worktree), "ahead": ahead, "reply_to": reply_to}
        await self._client.publish(self._subject, orjson.dumps(said))
        await asyncio.wait_for(answer, 60)

    async def _on_answer(self, message: Msg) -> None:
        self._awaited.pop(message.subject).set_result(None)


@asynccontextmanager
async def caller(client: Client, nats_url: str, database_url: str, *, is_noted: bool = False) -> AsyncIterator[Caller]:
    """A work queue, and a process that carries out what is in it; both end with the block.

    With `is_noted` each call has a row in the ledger and an outcome event.
    """
    name = new_prefix()
    jetstream = client.jetstream()
    await jetstream.add_stream(StreamConfig(name=name, subjects=[name], retention=RetentionPolicy.WORK_QUEUE))
    statement = NOTED if is_noted else CALLS
    command = [sys.executable, "-m", "benchmarks.commands.least", nats_url, name, database_url, statement]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != READY:
            raise RuntimeError("the process that carries out calls ended before it was ready")
        found = Caller(client, name)
        await found.listen()
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await jetstream.delete_stream(name)


async def _serve(nats_url: str, name: str, database_url: str, statement: str) -> None:
    """Carry out calls until the process is ended."""
    client = await nats.connect(nats_url)
    waiting: asyncio.Queue[Msg] = asyncio.Queue()
    config = ConsumerConfig(max_ack_pending=WINDOW)
    await client.jetstream().subscribe(name, stream=name, cb=waiting.put, manual_ack=True, config=config)
    print(READY.decode(), end="", flush=True)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(TOGETHER):
            tasks.create_task(_carry_out(waiting, client, database_url, statement))


async def _carry_out(waiting: asyncio.Queue[Msg], client: Client, database_url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        while True:
            messages = [await waiting.get()]
            while len(messages) < MOST_TOGETHER and not waiting.empty():
                messages.append(waiting.get_nowait())
            calls = [orjson.loads(message.data) for message in messages]
            await conn.execute(statement.encode(), [Jsonb(calls)], prepare=True)
            for message, call in zip(messages, calls, strict=True):
                await client.publish(call["reply_to"], b"applied")
                await message.ack()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
