"""What a server passes on from others: whatever bytes they chose, the client reads on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from registry.broker.askers import told_by_server
from registry.broker.hearing import MOST_HEADER_BYTES, MOST_HEADERS, HearingClient

WORDS = st.binary(min_size=1, max_size=40).filter(lambda word: not set(word) & set(b" \t\r\n"))
"""A subject, as nats-server reads it from whoever publishes."""
HEADERS = st.binary(min_size=1, max_size=80) | st.builds(
    b"NATS/1.0%s\r\n%s\r\n".__mod__, st.tuples(st.binary(max_size=20), st.binary(max_size=60))
)


class Listener(HearingClient):
    """One that keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Msg] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.heard.append(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))


@given(
    subject=WORDS, reply=WORDS | st.just(b""), headers=HEADERS, payload=st.binary(max_size=20), cut=st.integers(0, 200)
)
async def test_a_message_of_any_bytes_is_heard_and_so_is_the_next(
    subject: bytes, reply: bytes, headers: bytes, payload: bytes, cut: int
) -> None:
    listener = Listener()
    between = b" " + reply if reply else b""
    sizes = (len(headers), len(headers) + len(payload))
    text = b"HMSG %s 7%s %d %d\r\n%s%s\r\n" % (subject, between, *sizes, headers, payload)
    text += b"MSG %s 8%s %d\r\n%s\r\n" % (subject, between, len(payload), payload)

    for piece in (text[:cut], text[cut:]):
        await listener._ps.parse(piece)

    assert [(message._sid, message.data) for message in listener.heard] == [(7, payload), (8, payload)]
    assert {message.reply for message in listener.heard} == {reply.decode(errors="replace")}


async def test_more_headers_than_any_message_has_are_not_read() -> None:
    few, many = (b"".join(b"a%d: b\r\n" % number for number in range(count)) for count in (100, MOST_HEADERS))
    large = b"a: " + b"b" * MOST_HEADER_BYTES + b"\r\n"

    found = [await HearingClient()._process_headers(b"NATS/1.0\r\n" + lines + b"\r\n") for lines in (few, many, large)]

    assert [len(headers or {}) for headers in found] == [100, 0, 0]


@given(st.binary(max_size=80))
def test_what_the_server_says_of_who_asks_is_the_last_line_whatever_stands_before(sent: bytes) -> None:
    assert told_by_server(sent + b'\r\nNats-Request-Info: {"acc":"A"}\r\n\r\n') == '{"acc":"A"}'
