"""Who may act: whoever signed in with the token of the setting `http_token`. Everybody else may read.

A session is a cookie that says until when, signed with the token, so that it holds in every process that has the same
token and ends with a new one. A form carries a second signature of the session, which no page of somebody else knows.
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
    cookie: str
    form_token: str
    """Goes with each form."""


class Sessions:
    """Makes sessions and knows them again."""

    def __init__(self, token: str | None) -> None:
        self._token = token or None

    @property
    def can_act(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def sign_in(self, token: str, name: str) -> Session | None:
        """A session for who knows the token; None for everybody else."""
        if self._token is None or not hmac.compare_digest(_digest(token), _digest(self._token)):
            return None
        named = base64.urlsafe_b64encode((name.strip()[:MOST_NAME_CHARACTERS] or NOBODY).encode()).decode()
        content = f"{named}.{int(time()) + SESSION_SECONDS}.{secrets.token_hex(8)}"
        return self.known(f"{content}.{self._signed('session', content)}")

    def known(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None where it is none of ours, or over."""
        if self._token is None or not cookie:
            return None
        content, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signed("session", content).encode()):
            return None
        named, ends_at, _ = content.split(".")
        if int(ends_at) < time():
            return None
        name = base64.urlsafe_b64decode(named).decode()
        return Session(name, int(ends_at), cookie, self._signed("form", content))

    def _signed(self, what: str, content: str) -> str:
        return hmac.new((self._token or "").encode(), f"{what}:{content}".encode(), hashlib.sha256).hexdigest()


def is_same(given: str, token: str) -> bool:
    """Whether two secrets are the same, in a time that tells nothing of them."""
    return hmac.compare_digest(_digest(given), _digest(token))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
