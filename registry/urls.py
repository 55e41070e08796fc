"""Server URLs as they may be shown: without passwords and tokens."""

from __future__ import annotations

import re

_SECRET_PARAMETER = re.compile(r"((?:^|[?&\s])(?:password|sslpassword)=)('(?:[^'\\]|\\.)*'|[^&\s]*)", re.IGNORECASE)


def redacted(url: str) -> str:
    """`url` (or a comma-separated list, or a libpq connection string) without credentials."""
    without_userinfo = ",".join(_without_userinfo(part) for part in url.split(","))
    return _SECRET_PARAMETER.sub(r"\1…", without_userinfo)


def _without_userinfo(url: str) -> str:
    scheme, found, rest = url.partition("://")
    if not found and "=" in url:  # a connection string of libpq
        return url
    if not found:
        return url.rpartition("@")[2]
    authority, slash, path = rest.partition("/")
    _, colon, port = authority.rpartition(":")
    if "@" not in authority and "@" in path and colon and not port.isdigit():  # a password with a slash in it
        authority, slash, path = rest.rpartition("@")[2].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
