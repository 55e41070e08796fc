"""Who may act: whoever signed in with the token of the setting `http_token`. Everybody else may read.

A session is a text that says until when, signed with the token, so that it holds in every process that has the same
token and ends with a new one. The tab that signed in keeps it, and sends it with each form. It is no cookie: a browser
sends those by itself, also to other ports of the host, which may be a stranger's, and with forms of somebody else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from time import time

SESSION_SECONDS = 12 * 3600
MOST_NAME_CHARACTERS = 60
NOBODY = "console"


@dataclass(frozen=True)
class Session:
    """Somebody who signed in."""

    name: str
    """What they call themselves; commands and the log carry it."""
    ends_at: int
    key: str
    """Who has it is this somebody."""


class Sessions:
    """Makes sessions and knows them again."""

    def __init__(self, token: str | None) -> None:
        self._token = token or None

    @property
    def can_act(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def sign_in(self, token: str, name: str) -> Session | None:
        """A session for who knows the token; None for everybody else, in a time that tells nothing of it."""
        if self._token is None or not hmac.compare_digest(_digest(token), _digest(self._token)):
            return None
        named = base64.urlsafe_b64encode((name.strip()[:MOST_NAME_CHARACTERS] or NOBODY).encode()).decode()
        content = f"{named}.{int(time()) + SESSION_SECONDS}.{secrets.token_hex(8)}"
        return self.known(f"{content}.{self._signed(content)}")

    def known(self, key: str | None) -> Session | None:
        """The session of a key; None where it is none of ours, or over."""
        if self._token is None or not key:
            return None
        content, _, signature = key.rpartition(".")
        if not hmac.compare_digest(_digest(signature), _digest(self._signed(content))):
            return None
        named, ends_at, _ = content.split(".")
        if int(ends_at) < time():
            return None
        return Session(base64.urlsafe_b64decode(named).decode(), int(ends_at), key)

    def _signed(self, content: str) -> str:
        signed = f"session:{content}".encode("utf-8", "surrogatepass")
        return hmac.new((self._token or "").encode(), signed, hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
