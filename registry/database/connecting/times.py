"""Times as they are read from PostgreSQL, which has some that neither Python nor RFC 3339 can say."""

from __future__ import annotations

from datetime import datetime

import psycopg
from psycopg.abc import Buffer
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader

from registry.validation import EARLIEST, LATEST


class NearestTime(TimestamptzLoader):
    """Reads a time that is not within the years 1 to 9999 as the nearest of these: infinity, too."""

    def load(self, data: Buffer) -> datetime:
        """The time of the text that PostgreSQL sent."""
        try:
            return super().load(data)
        except psycopg.DataError:
            text = bytes(data)
            return EARLIEST if text.startswith(b"-") or text.endswith(b" BC") else LATEST


class NearestTimeOfBinary(TimestamptzBinaryLoader):
    """The same for the binary form: microseconds since 2000, signed."""

    def load(self, data: Buffer) -> datetime:
        """The time of the eight bytes that PostgreSQL sent."""
        try:
            return super().load(data)
        except psycopg.DataError:
            return EARLIEST if bytes(data)[0] & 0x80 else LATEST
