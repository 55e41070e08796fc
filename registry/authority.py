"""Host and port, as they stand in a URL and in the headers that tell them (RFC 3986, 3.2.2 and 3.2.3)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

MOST_PORT = 65_535
HOST_RULE = "its host must have 1 to 63 characters between two dots, and none that IDNA forbids"
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)


class Authority(NamedTuple):
    """Whom a URL names: no user, no brackets, a name in small letters."""

    host: str
    port: int | None
    """None where the scheme says it."""


def parsed(text: str) -> Authority | None:
    """`HOST` or `HOST:PORT`, an IPv6 address in brackets; None for what is anything else, or more."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    host = found["six"] or found["host"]
    port = int(found["port"]) if found["port"] else None
    is_host = ":" in host and address_of(host) is not None if found["six"] else is_host_name(host)
    if not is_host or (port or 0) > MOST_PORT:
        return None
    return Authority(host.lower().removesuffix("."), port)


def is_host_name(text: str) -> bool:
    """Whether `text` may be the name of a host, or an address of four numbers."""
    return _NAME.fullmatch(text) is not None


def check_hosts(hosts: str) -> None:
    """Raise `ValueError` unless a resolver can be asked for each of `hosts`, by comma as libpq has them.

    It is not asked for a socket.
    """
    for host in hosts.split(","):
        try:
            if not host.startswith(("/", "@")):
                host.encode("idna")  # as Python does before it asks
        except UnicodeError:
            raise ValueError(HOST_RULE) from None


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, an IPv4 one also where IPv6 wraps it (`::ffff:10.0.0.7`); None for what is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def written(host: str, port: int | str | None = None) -> str:
    """Host and port as a URL has them: an IPv6 address in brackets, its zone behind `%25` (RFC 6874)."""
    shown = f"[{host.replace('%', '%25')}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"
