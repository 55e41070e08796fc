"""Lines of a file that somebody gave: as they are, and bounded whatever the file unpacks to."""

from __future__ import annotations

import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from publisher.history import lines
from publisher.history.lines import plain_lines, unpacked_lines
from registry.errors import Unusable

MIB = 1024 * 1024
READERS = {"plain": (plain_lines, bytes), "compressed": (unpacked_lines, zstandard.compress)}


def bomb(mebibytes: int) -> bytes:
    """One line, and then a line without an end: so much of one character, compressed."""
    frame = zstandard.ZstdCompressor().compressobj()
    packed = [frame.compress(b"{}\n")] + [frame.compress(b"x" * MIB) for _ in range(mebibytes)]
    return b"".join([*packed, frame.flush()])


@pytest.mark.parametrize("reader", READERS)
@given(data=st.lists(st.sampled_from([b"a", b"\n", b"bc", b"\r", b"\n\n"]), max_size=30).map(b"".join))
def test_lines_are_those_of_the_file(reader: str, data: bytes) -> None:
    read, packed = READERS[reader]
    assert list(read(io.BytesIO(packed(data)))) == list(io.BytesIO(data))


def test_a_bomb_takes_no_memory_beyond_what_a_line_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 4 * MIB)
    packed = bomb(500)
    assert len(packed) < MIB // 16
    tracemalloc.start()
    try:
        with pytest.raises(Unusable, match=r"^line 2 is no event that was exported: it has more than 4,194,304 bytes$"):
            list(unpacked_lines(io.BytesIO(packed)))
        assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("length", "is_taken"), [(1000, True), (1001, False)])
def test_a_line_has_a_longest_length(monkeypatch: pytest.MonkeyPatch, reader: str, length: int, is_taken: bool) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 1000)
    read, packed = READERS[reader]

    def reading() -> list[bytes]:
        return list(read(io.BytesIO(packed(b"x" * length))))

    if is_taken:
        assert reading() == [b"x" * length]
    else:
        with pytest.raises(Unusable, match="line 1"):
            reading()
