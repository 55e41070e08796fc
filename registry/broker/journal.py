"""A journal: a stream of ours in which is written what people did. It is bounded, and the oldest lines go first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import nats.js.errors
import orjson
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, RawStreamMsg, StorageType, StreamConfig

from registry.broker.errors import translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS
from registry.broker.own_stream import open_own
from registry.broker.stored import first_message
from registry.errors import NotFound

MOST_LINES = 100_000
MOST_BYTES = 64 * 1024 * 1024
HEARD_OF_SECONDS = 2.0
"""A server of a cluster may not have heard yet of a stream that another one just made: so long it is asked again."""
AGAIN_SECONDS = 0.1

Line = dict[str, Any]


class Journal:
    """The lines of one stream, each a JSON object. What somebody else wrote there is left out."""

    def __init__(self, client: Client, stream: str, root: str, description: str, *, like: str) -> None:
        """`root` is what all its subjects begin with; a stream that is made has as many replicas as `like`."""
        self._client = client
        self._stream = stream
        self._root = root
        self._description = description
        self._like = like
        self._js = client.jetstream(timeout=REQUEST_TIMEOUT_SECONDS)
        self._is_open = False

    async def write(self, subject: str, line: Line, *, line_id: str | None = None) -> None:
        """Write a line; one of the same `line_id` within two minutes is the same. Raises `Unavailable`, `Conflict`."""
        if not self._is_open:
            await open_own(self._client, self._config(), like=self._like)
            self._is_open = True
        headers = {"Nats-Msg-Id": line_id} if line_id is not None else None
        patient_until = monotonic() + HEARD_OF_SECONDS
        with translated_nats(f"cannot write into stream {self._stream}"):
            while True:
                try:
                    await self._js.publish(subject, orjson.dumps(line), headers=headers)
                except nats.js.errors.NoStreamResponseError:
                    if monotonic() > patient_until:
                        raise
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    return

    async def all(self, subject: str) -> AsyncIterator[Line]:
        """The lines of a subject, which may have wildcards, oldest first. Raises `Unavailable`."""
        number = 0
        while True:
            try:
                message = await first_message(self._js, self._stream, number + 1, subject)
            except NotFound:  # nothing was ever written
                return
            if message is None:
                return
            number = int(message.seq or 0)
            line = _line(message)
            if line is not None:
                yield line

    async def latest(self, most: int) -> list[Line]:
        """The last lines, newest first. Raises `Unavailable`."""
        try:
            with translated_nats(f"cannot read stream {self._stream}"):
                state = (await self._js.stream_info(self._stream)).state
        except NotFound:
            return []
        first = max(state.first_seq, state.last_seq - most + 1)
        found = await asyncio.gather(*(self._at(number) for number in range(state.last_seq, first - 1, -1)))
        return [line for line in found if line is not None]

    async def _at(self, number: int) -> Line | None:
        try:
            with translated_nats(f"cannot read stream {self._stream}"):
                # Never a direct request (`stored.py`): nobody needs a right to those for anything of ours.
                return _line(await self._js.get_msg(self._stream, number))
        except NotFound:  # gone meanwhile
            return None

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=self._stream,
            description=self._description,
            subjects=[f"{self._root}.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_msgs=MOST_LINES,
            max_bytes=MOST_BYTES,
            allow_direct=True,
        )


def _line(message: RawStreamMsg) -> Line | None:
    try:
        line = orjson.loads(message.data or b"")
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
