"""Which registry answers: asked by mirrors, which must know when what they followed is another one, or an older state.

The whole snapshot is for mirrors, too: all tables of the registry, as lines that PostgreSQL's COPY takes as they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import orjson

from registry.errors import RegistryError
from registry.history.pages import NOT_READ
from registry.position import Position
from registry.profiles.profile import Profile

WHOLE = b'{"tables": "all"}'
"""What a request for a snapshot says that is to have every table."""
END = b"\n.\n"
"""The end of a whole snapshot: a line that is no row, since a row begins with the name of its table."""


@dataclass(frozen=True)
class Site:
    """One registry, as it is now."""

    registry_id: UUID
    life: str
    """Another text after its database was restored, or a standby of it was promoted."""
    epoch: int
    """How often a mirror took over in its line, and one."""
    migration: int
    sequence: int
    """Of the last event that its publisher knows to be in the stream."""
    outbox_id: int
    """The last one that was handed out."""

    def encode(self) -> bytes:
        """The answer on the wire."""
        return orjson.dumps(asdict(self))

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Site:
        """From the fields of an answer. Raises what `NOT_READ` names for those that are none."""
        numbers = {name: int(fields[name]) for name in ("epoch", "migration", "sequence", "outbox_id")}
        return cls(UUID(fields["registry_id"]), str(fields["life"]), **numbers)

    @classmethod
    def decode(cls, text: bytes) -> Site:
        """Read an answer. Raises `RegistryError` for one that is none."""
        try:
            return cls.of(orjson.loads(text))
        except NOT_READ as error:
            raise RegistryError("site: the answer is none that this version knows") from error


@dataclass(frozen=True)
class WholeHead:
    """The first line of a whole snapshot."""

    position: Position
    site: Site

    def encode(self) -> bytes:
        """The line, with its end."""
        return orjson.dumps({"position": str(self.position), "site": asdict(self.site)}) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> WholeHead:
        """Read the line. Raises `RegistryError`: also for a publisher that knows of no mirrors."""
        try:
            fields = orjson.loads(line)
            return cls(Position.parse(fields["position"]), Site.of(fields["site"]))
        except NOT_READ as error:
            raise RegistryError(
                "whole snapshot: the answer is none that this version knows; is the publisher of an older one?"
            ) from error


def site_subject(profile: Profile) -> str:
    """Where the publisher answers with its `Site`."""
    return f"{profile.requests}.site"
