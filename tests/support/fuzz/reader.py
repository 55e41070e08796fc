"""What a reader of foreign bytes is, and what is valid for those of events, commands and queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from registry.errors import RegistryError

SCHEMAS = Path(__file__).parents[3] / "schemas"


class Reader(NamedTuple):
    """A function that reads foreign bytes, what may have been valid for it, and what it raises for all else."""

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    raises: tuple[type[Exception], ...] = (RegistryError,)


def of_text(take: Callable[[str], object]) -> Callable[[bytes], object]:
    """A reader of text as one of bytes, of which any may be there, as in arguments and file names."""
    return lambda data: take(data.decode(errors="surrogateescape"))


def examples(folder: str) -> dict[str, list[dict[str, Any]]]:
    """The examples of each schema in a folder, by the name of its event, command or query and its version."""
    found = {
        file.stem: json.loads(file.read_text()).get("examples", [{}]) for file in (SCHEMAS / folder).glob("*.json")
    }
    return dict(sorted(found.items()))


def of_texts(take: Callable[[dict[str, str]], object]) -> Callable[[bytes], object]:
    """A reader of named texts, as fields of a form: lines of a name and its text in turn, or an object of texts."""

    def read(data: bytes) -> object:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            return take(
                {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}
            )
        lines = data.decode(errors="surrogateescape").split("\n")
        return take(dict(zip(lines[::2], lines[1::2], strict=False)))

    return read


ID = "1f0c3b1e-0d52-4f5e-8a5b-3a1d2b6f7c10"
ENVELOPE = {
    "specversion": "1.0",
    "id": ID,
    "source": "urn:imi:registry",
    "subject": f"worktree/{ID}",
    "time": "2026-01-21T10:00:00.123456Z",
    "datacontenttype": "application/json",
    "dataschema": "urn:x",
    "correlationid": ID,
    "sequence": "0000000000000000042",
    "transactionid": "777",
}
EVENTS = [
    json.dumps(ENVELOPE | {"subject": f"{name.split('.')[0]}/{ID}", "type": f"imi.{name}", "data": data}).encode()
    for name, found in examples("events").items()
    for data in found[:1]
]
