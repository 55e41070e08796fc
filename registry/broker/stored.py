"""Messages looked up in a stream, or deleted from it, one by one.

Never by direct requests: those are answered with the message as it is, on any subject that who asks names, and so could
put what he wrote himself into a stream that is closed to him.
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from registry.broker.errors import is_no_message, translated_nats
from registry.errors import Conflict, NotFound, Unavailable


async def first_message(js: JetStreamContext, stream: str, number: int, subject: str) -> RawStreamMsg | None:
    """The first message of `stream` with at least sequence `number` on `subject`; None when there is none.

    Raises `NotFound` when there is no such stream, `Unavailable`.
    """
    try:
        with translated_nats(f"cannot read stream {stream}"):
            return await js.get_msg(stream, seq=number, subject=subject, next=True)
    except NotFound as error:
        if is_no_message(error):
            return None
        raise


async def delete_message(js: JetStreamContext, stream: str, number: int) -> bool:
    """Delete the message with sequence `number` from `stream`; False when it is gone already.

    Raises `NotFound` when there is no such stream, `Unavailable`.
    """
    try:
        with translated_nats(f"cannot delete message {number} of stream {stream}"):
            await js.delete_msg(stream, number)
    except (Conflict, Unavailable):  # a server has several errors for one that is gone: by where it lay, and in between
        message = await first_message(js, stream, number, ">")
        if message is not None and message.seq == number:
            raise
        return False
    return True
