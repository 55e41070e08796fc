"""Which id an origin has, as it stands in the bucket, and which of two wins."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Self
from uuid import UUID

import orjson

from registry.origin import derived_project_id, normalized_origin

BEFORE, BEHIND = "git@github.com:", ".git"


class Standing(NamedTuple):
    """An id, and what decides against another one. The least wins: this order is the rule, and all registries have it.

    A derived id wins over every other: each registry can tell it alone. Of two others the older registration does.
    """

    is_random: bool
    registered_at: datetime
    project_id: UUID

    @classmethod
    def of(cls, remote_origin: str, project_id: UUID, registered_at: datetime) -> Self:
        """That of a project which was registered then."""
        return cls(project_id != derived_project_id(remote_origin), registered_at.astimezone(UTC), project_id)

    def encode(self) -> bytes:
        """The value in the bucket."""
        return orjson.dumps({"project_id": self.project_id, "registered_at": self.registered_at})

    @classmethod
    def decode(cls, remote_origin: str, value: bytes | None) -> Self | None:
        """What stands in a value; None where it is nothing of ours, which gives way to whoever comes."""
        try:
            told = orjson.loads(value or b"")
            registered_at = datetime.fromisoformat(told["registered_at"])
            if registered_at.tzinfo is None:
                return None
            return cls.of(remote_origin, UUID(told["project_id"]), registered_at)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None


class Unsettled(NamedTuple):
    """Why a project does not go on under the id that stands for its origin."""

    agreed_id: UUID
    reason: str


def to_settle(remote_origin: str, project_id: UUID | str, agreed_id: UUID | str) -> str:
    """What a person runs where the agreed id is another project here."""
    return (
        f"Where both are one project: imi-registry project merge {agreed_id} {project_id}. "
        f"Where they are two: imi-registry agreement forget {remote_origin}"
    )


def key_of(remote_origin: str) -> str | None:
    """The key of an origin, in any form: owner/repo. None for one that is no repository on GitHub."""
    origin = normalized_origin(remote_origin)
    return None if origin is None else origin.removeprefix(BEFORE).removesuffix(BEHIND)


def origin_of(key: str) -> str:
    """The origin of a key."""
    return f"{BEFORE}{key}{BEHIND}"
