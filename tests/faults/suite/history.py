"""The history of a run: a folder with one file of JSON lines for each who notes something."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.suite.entries import Entry

SCHEDULE, LEDGER, STREAM, MESSAGES, REPLAY = "schedule", "ledger", "stream", "messages", "replay"
WRITTEN, COMMANDED, ANSWERED, HANDLED = "written", "commanded", "answered", "handled"
TAKEN_BACK = "taken-back"
"""Promotions of a standby that lacked something: from when to when, and which entries it lacked."""


class Notes:
    """One file of a history; each line is in the kernel's hands when `add` returns, whatever kills the process."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, **fields: Any) -> None:
        """Note one line."""
        os.write(self._file, json.dumps(fields).encode() + b"\n")

    def add_all(self, entries: Iterable[tuple[int, Entry]]) -> None:
        """Note entries, each with where it stands."""
        for at, entry in entries:
            self.add(at=at, entry=entry)

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The lines of one file; none when it was never written."""
    file = folder / f"{name}.jsonl"
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):  # the last one of a process that was killed may be cut
                yield json.loads(line)


def entries(folder: Path, name: str) -> list[Entry]:
    """The entries of one file, in its order."""
    return [Entry(*line["entry"]) for line in read(folder, name)]
