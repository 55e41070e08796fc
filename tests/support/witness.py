"""Witnesses of a run: writers who note what was confirmed to them, readers who note what they were told.

What is compared is what they noted, and nothing else: neither the outbox nor the ledger of commands is believed. Each
writer has a row of its own and gives it the numbers 1, 2, 3 …, so that an entry says who wrote it, and when.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
import psycopg

from registry.client import RegistryClient, Sending
from registry.errors import OutcomeUnknown, Unavailable

RETRY_SECONDS = 0.02
MARK = "witness"
ASKED = Sending(timeout=3)


class Entry(NamedTuple):
    """One change: which row, and the number it was given."""

    row: str
    number: int

    @property
    def text(self) -> str:
        """As it is written into the row."""
        return f"{MARK} {self.number}"


def entry_of(payload: bytes) -> Entry | None:
    """The change that the envelope of an event tells; None for other changes."""
    data: dict[str, Any] | None = orjson.loads(payload).get("data")
    mark, _, number = str((data or {}).get("description")).partition(" ")
    if data is None or mark != MARK or "description" not in data.get("changed", {}):
        return None
    return Entry(str(data["name"]), int(number))


@dataclass
class Written:
    """What the writers know."""

    confirmed: set[Entry] = field(default_factory=set)
    """A commit, or an outcome, said so."""
    unknown: set[Entry] = field(default_factory=set)
    """The connection was lost before anything was said."""

    async def reach(self, more: int, rows: Collection[str], timeout_seconds: float = 120) -> None:
        """Wait until so many more are confirmed of these rows."""
        target = self._count(rows) + more
        async with asyncio.timeout(timeout_seconds):
            while self._count(rows) < target:
                await asyncio.sleep(0.02)

    def _count(self, rows: Collection[str]) -> int:
        return sum(entry.row in rows for entry in self.confirmed)


async def write_sql(database_url: str, row: str, written: Written, stop: asyncio.Event) -> None:
    """Number the row of this name by plain SQL, each number once, until told to stop."""
    entries = _entries(row, stop)
    under_way: Entry | None = None
    while not stop.is_set():
        try:
            async with await psycopg.AsyncConnection.connect(database_url, connect_timeout=5) as conn:
                for entry in entries:
                    await conn.execute("UPDATE projects SET description = %s WHERE name = %s", [entry.text, row])
                    under_way = entry
                    await conn.commit()
                    written.confirmed.add(entry)
                    under_way = None
        except psycopg.OperationalError:
            if under_way is not None:
                written.unknown.add(under_way)
                under_way = None
            await asyncio.sleep(RETRY_SECONDS)


async def write_commands(client: RegistryClient, row: str, written: Written, stop: asyncio.Event) -> None:
    """Number the row of this name by commands, each number once, until told to stop."""
    for entry in _entries(row, stop):
        try:
            await client.update_project(remote_origin=origin_of(row), description=entry.text, sending=ASKED)
            written.confirmed.add(entry)
        except OutcomeUnknown:
            written.unknown.add(entry)
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)


def origin_of(row: str) -> str:
    """The origin of the row's project."""
    return f"git@github.com:{MARK}/{row}.git"


def _entries(row: str, stop: asyncio.Event) -> Iterator[Entry]:
    number = 0
    while not stop.is_set():
        number += 1
        yield Entry(row, number)


class Verdict(NamedTuple):
    """What a reader was told, held against what the writers know."""

    lost: list[Entry]
    """Confirmed and not told."""
    phantom: list[Entry]
    """Told, and neither confirmed nor of unknown outcome."""
    doubled: list[Entry]
    reordered: list[tuple[Entry, Entry]]
    """Told for the first time behind a later one of the same row."""


def judge(written: Written, told: Iterable[Entry]) -> Verdict:
    """Compare; `told` is in the order in which the reader was told."""
    told = list(told)
    known = set(told)
    rows: dict[str, list[Entry]] = {}
    for entry in dict.fromkeys(told):
        rows.setdefault(entry.row, []).append(entry)
    return Verdict(
        lost=sorted(written.confirmed - known),
        phantom=sorted(known - written.confirmed - written.unknown),
        doubled=[entry for entry, times in Counter(told).items() if times > 1],
        reordered=[pair for entries in rows.values() for pair in pairwise(entries) if pair[0] > pair[1]],
    )
