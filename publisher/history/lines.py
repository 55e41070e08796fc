"""Lines of a file that somebody gave, compressed or not: read in pieces, none longer than an event can be.

A compressed file may hold ten thousand times its size, and a file need have no line's end: neither is a reason to take
the machine's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO

import zstandard

from publisher.outbox.rows import WHOLE_BYTES
from registry.errors import Unusable

PIECE_BYTES = 64 * 1024
PACKED_BYTES = 1024
"""Read at once of a compressed file. Four bytes of zstd make 128 KiB at most, so this makes 32 MiB at most."""
LINE_BYTES = WHOLE_BYTES + 1024 * 1024
"""The largest data that is read, and an envelope around it."""


def plain_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, with their ends. Raises `Unusable`."""
    return _lines(iter(partial(file.read, PIECE_BYTES), b""))


def unpacked_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of one zstd frame, with their ends. Raises `Unusable`, `ZstdError`."""
    return _lines(_unpacked(file))


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    number, size = 1, 0
    for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join([*begun, end, b"\n"])
            begun.clear()
            number, size = number + 1, 0
        begun.append(rest)
        size += len(rest)
        if size > LINE_BYTES:
            raise Unusable(f"line {number} is no event that was exported: it has more than {LINE_BYTES:,} bytes")
    if size:
        yield b"".join(begun)


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """What one frame holds. A frame that was cut off is an error here: to the library's own readers it is none."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    while packed := file.read(PACKED_BYTES):
        yield frame.decompress(packed)
    if not frame.eof:
        raise zstandard.ZstdError("it ends too early")
    if frame.unused_data:
        raise zstandard.ZstdError("something follows it")
