"""Messages looked up in a stream one by one.

Never by direct requests: those are answered with the message as it is, on any subject that who asks names, and so could
put what he wrote himself into a stream that is closed to him.
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg

from registry.broker.errors import is_no_message, translated_nats
from registry.errors import NotFound


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
