"""nats-py's client, as one that goes on whatever it hears: others choose subjects, answers and headers.

A server takes any bytes for these. What nats-py's reader raises over one message ends it for good: the connection stays
and nothing is heard on it any more.
"""

from __future__ import annotations

import re
from types import FunctionType

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol import parser

MESSAGE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
MESSAGE_WITH_HEADERS = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)
"""A server's first line of a message: blanks and tabs separate. nats-py's takes what else is white for that, too."""
MOST_HEADER_BYTES = 128 * 1024
"""Of one message. A stream takes 64 KiB, and a server adds lines of its own."""
MOST_HEADERS = 512
"""Lines of one message: each takes ten times its bytes of memory."""


class HearingParser(parser.Parser):
    """nats-py's, to which whatever comes is a word of the server: an answer to a ping waits behind what is large."""

    _parse = FunctionType(
        parser.Parser.parse.__code__,
        vars(parser) | {"MSG_RE": MESSAGE, "HMSG_RE": MESSAGE_WITH_HEADERS},
        argdefs=parser.Parser.parse.__defaults__,
    )

    async def parse(self, data: bytes = b"") -> None:
        """As nats-py's."""
        self.nc._pings_outstanding = 0
        await self._parse(data)


class HearingClient(Client):
    """One whose reader no message ends."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = HearingParser(self)

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        """As nats-py's, which raises over a subject that is no UTF-8."""
        message: Msg = super()._build_message(sid, _readable(subject), _readable(reply), data, headers)
        return message

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        """As nats-py's, which raises over a first line that it cannot read, and reads any number of others.

        A message whose headers are not read comes without any.
        """
        if headers and (len(headers) > MOST_HEADER_BYTES or headers.count(b"\n") > MOST_HEADERS):
            return {}
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return {}


def _readable(subject: bytes) -> bytes:
    return bytes(subject).decode(errors="replace").encode()
