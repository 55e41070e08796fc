"""Messages looked up in a stream one by one."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from registry.broker.errors import translated_nats
from registry.errors import NotFound, Unavailable


async def first_message(js: JetStreamContext, stream: str, number: int, subject: str) -> RawStreamMsg | None:
    """The first message of `stream` with at least sequence `number` on `subject`; None when there is none.

    Raises `NotFound` when there is no such stream, which a direct request alone does not tell, `Unavailable`.
    """
    try:
        return await _direct(js, stream, number, subject)
    except Unavailable:
        with translated_nats(f"cannot read stream {stream}"):
            await js.stream_info(stream)
        return await _direct(js, stream, number, subject)  # it was being made


async def _direct(js: JetStreamContext, stream: str, number: int, subject: str) -> RawStreamMsg | None:
    try:
        with translated_nats(f"cannot read stream {stream}"):
            return await js.get_msg(stream, seq=number, subject=subject, direct=True, next=True)
    except NotFound:
        return None
