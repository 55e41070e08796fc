"""How much of a file that somebody else may have written is taken in: rows, bytes as they are unpacked, and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from registry.errors import Unusable


@dataclass
class Allowance:
    """For one file; its time runs from when it is made."""

    rows: int
    bytes: int
    """Of what the rows hold, which may be more than the file has: it may be compressed, or point twice to one place."""
    seconds: float
    _rows: int = 0
    _bytes: int = 0
    _began: float = field(default_factory=monotonic)

    @property
    def seconds_left(self) -> float:
        """Until it is over; 0 when it is."""
        return max(self._began + self.seconds - monotonic(), 0.0)

    def check_rows(self, rows: int) -> None:
        """Raise `Unusable` where so many are more than are allowed."""
        if rows > self.rows:
            raise Unusable(f"the file has more than {self.rows:,} rows; --most-rows allows more")

    def take(self, size: int) -> None:
        """Count a row of `size` bytes. Raises `Unusable` naming what there is too much of, and its option."""
        self._rows += 1
        self._bytes += size
        self.check_rows(self._rows)
        if self._bytes > self.bytes:
            raise Unusable(f"the file's rows have more than {self.bytes:,} bytes; --most-bytes allows more")
        if not self.seconds_left:
            raise self.too_late()

    def too_late(self) -> Unusable:
        """What is raised when it took too long."""
        return Unusable(f"the import took more than {self.seconds:g} s; --most-time allows more")
