"""Origins of projects as the registry stores them, and the id that follows from one, for who has no database at hand.

The functions `normalize_remote_origin` and `derived_project_id` of the schema say the same; a test compares them.
"""

from __future__ import annotations

import re
from uuid import UUID, uuid5

PROJECTS = UUID("5128c89b-5812-5ac4-a011-e7a33083f9cd")
"""Namespace of derived ids: the UUIDv5 of "urn:imi:project" in the namespace of URLs. It never changes."""

_CANONICAL = re.compile(r"git@github\.com:[a-z0-9][a-z0-9_-]*/[a-z0-9._-]+\.git")
_NEVER = re.compile(r"\.\.|/\.git\Z|\.git\.git\Z")
_MOST_CHARACTERS = 160
_SUFFIX = re.compile(r"(?:\.git)?/?\Z")
_SPELLED = re.compile(
    r"(?:(?:https?|git|ssh|git\+ssh)://(?:[^/@\s]+@)?(?:www\.|ssh\.)?github\.com(?::[0-9]+)?/"
    r"|(?:[^/@:\s]+@)?github\.com:/?)([^/\s]+/[^/\s]+)",
    re.ASCII,
)
_UPPER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def normalized_origin(remote_origin: str) -> str | None:
    """git@github.com:owner/repo.git in lower case, from any ssh, https or git form; None when it is none of GitHub."""
    if _is_canonical(remote_origin):
        return remote_origin
    found = _SPELLED.fullmatch(_SUFFIX.sub("", remote_origin.translate(_UPPER), count=1))
    origin = f"git@github.com:{found[1]}.git" if found else ""
    return origin if _is_canonical(origin) else None


def derived_project_id(remote_origin: str) -> UUID | None:
    """The UUIDv5 of an origin, in any form; None when it is no GitHub repository."""
    origin = normalized_origin(remote_origin)
    return None if origin is None else uuid5(PROJECTS, origin)


def _is_canonical(origin: str) -> bool:
    is_short = len(origin) <= _MOST_CHARACTERS
    return is_short and _CANONICAL.fullmatch(origin) is not None and _NEVER.search(origin) is None
