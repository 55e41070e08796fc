"""What stands before the pages: requests that are too large or come from a foreign page, and headers for browsers.

A page of somebody else can let its own name point to this machine (DNS rebinding), and its script would read ours. The
browser tells the name in `Host`: an address points nowhere else, so those are taken, and names that are known.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publisher.http_settings import listed
from registry.authority import Authority, address_of, parsed

MOST_TARGET_BYTES = 4096
"""What a box takes may be nine times as long in a URL, and is encoded once more in one that leads back to it."""
MOST_HEADER_BYTES = 8 * 1024
MOST_FORM_BYTES = 256 * 1024
FORM = "application/x-www-form-urlencoded"
ANY = "*"
LOCAL = "localhost"
SCHEMES = {"http", "https"}


class Guard:
    """Wraps an application of pages and short forms. An answer that has a header of its own keeps it."""

    def __init__(self, application: ASGIApp, *, hosts: Iterable[str], style: str) -> None:
        """`hosts` are the names it is reached by; `ANY` takes all. `style` is the one that its pages have."""
        self._application = application
        self._hosts = {host.lower().removesuffix(".") for host in hosts} | {LOCAL}
        self._added = _security_headers(style)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse, one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._added.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        application = self._application
        if refusal is not None:
            status, reason = refusal
            application = PlainTextResponse(f"{reason}\n", status_code=status, headers={"connection": "close"})
        await application(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_TARGET_BYTES:
            return 414, f"the URL has more than {MOST_TARGET_BYTES} bytes"
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            return 431, f"the headers have more than {MOST_HEADER_BYTES} bytes"
        refusal = _refused_body(scope["method"], headers)
        if refusal is not None:
            return 413, refusal
        host = parsed(headers.get("host", LOCAL))  # h11 refuses a request with two
        if host is None:
            return 400, "the header Host has to be HOST or HOST:PORT, an IPv6 address in brackets"
        if not self._is_ours(host):
            return 421, "the host is none of this service's; see setting http_hosts"
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(page_of(origin)):
            return 403, "the request comes from a page of somebody else"
        return None

    def _is_ours(self, place: Authority | None) -> bool:
        """Whether this is an address, or a name of this service."""
        if place is None:
            return False
        return ANY in self._hosts or place.host in self._hosts or address_of(place.host) is not None


def page_of(origin: str) -> Authority | None:
    """Whose page a request comes from, of the header `Origin`; None where that names nobody."""
    scheme, _, authority = origin.partition("://")
    return parsed(authority) if scheme.lower() in SCHEMES else None


def _refused_body(method: str, headers: Headers) -> str | None:
    """Why the body of a request is not read; None when it has none, or is a form of a size that is told before."""
    length = headers.get("content-length", "0")
    if length == "0" and "transfer-encoding" not in headers:
        return None
    if method != "POST" or headers.get("content-type", "").partition(";")[0].strip() != FORM:
        return "no request has a body here"
    if "transfer-encoding" in headers or not re.fullmatch("[0-9]{1,9}", length) or int(length) > MOST_FORM_BYTES:
        return f"a form has at most {MOST_FORM_BYTES} bytes, and tells how many"
    return None


def known_hosts(bound: str, named: str) -> list[str]:
    """Names of a service that listens on `bound`, an address or a name; a setting adds those in `named`, by comma.

    Who listens for others is reached by the name of its machine, too. It cannot know any further one: what is taken
    without being named is taken from every page that lets its own name point here.
    """
    names = listed(named)
    address = address_of(bound)
    is_local = bound == LOCAL or (address is not None and address.is_loopback)
    return names if is_local else [*names, bound, socket.gethostname()]


def _security_headers(style: str) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
