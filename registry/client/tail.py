"""The tail of a stream: from where on it has so many messages that match.

What arrives while it is looked for is counted with what was there: who reads up to an end that he took before may find
all that was counted behind it. So he takes his end afterwards, or says it and what stands behind it is not counted.
"""

from __future__ import annotations

from registry.broker.ordered import OrderedReader


async def before_last(reader: OrderedReader, count: int, end: int | None) -> int:
    """The highest sequence behind which at least `count` messages match the reader's subject, up to `end`; else 0.

    Raises what `OrderedReader.behind` does.
    """
    first, last = await reader.state()
    low = max(first - 1, 0)  # a stream that never held anything begins at 0
    high = last if end is None else min(last, end)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if await _up_to(reader, middle, end) >= count else (low, middle - 1)
    return low if await _up_to(reader, low, end) >= count else 0


async def _up_to(reader: OrderedReader, sequence: int, end: int | None) -> int:
    """How many match behind a sequence and up to `end`; too few, never too many, while more arrive."""
    found = await reader.behind(sequence)
    return found if end is None else found - await reader.behind(end)
