"""Server URLs as they may be shown: without passwords and tokens."""

from __future__ import annotations

import re

_SECRET_PARAMETER = re.compile(r"((?:^|[?&\s])(?:password|sslpassword)=)('(?:[^'\\]|\\.)*'|[^&\s]*)", re.IGNORECASE)


def redacted(url: str) -> str:
    """`url` (or a comma-separated list, or a libpq connection string) without credentials."""
    shown = ",".join(_without_userinfo(part) for part in url.split(","))
    return _SECRET_PARAMETER.sub(r"\1…", shown)


def _without_userinfo(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found:
        return url.rpartition("@")[2] if "=" not in url else url
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
