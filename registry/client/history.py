"""Asking the publisher for history older than the stream: pages of the outbox (`registry/history/pages.py`)."""

from __future__ import annotations

import nats.errors
from nats.aio.client import Client

from registry.broker.answers import raise_refusal
from registry.broker.errors import translated_nats
from registry.errors import Unavailable
from registry.events.filter import EventFilter
from registry.history.pages import HistoryPage, HistoryRequest, history_subject
from registry.position import Position
from registry.profiles.profile import Profile

REQUEST_TIMEOUT_SECONDS = 15.0


class HistoryPages:
    """The pages of what was published between two places, in the order of the stream."""

    def __init__(
        self, client: Client, profile: Profile, after: Position, before: Position, wanted: EventFilter
    ) -> None:
        self._client = client
        self._profile = profile
        self._after: Position | None = after
        self._before = before
        self._filter = wanted

    async def next(self) -> HistoryPage | None:
        """The next page, None behind the last one. May be called again after `Unavailable`; raises `Invalid`, too."""
        if self._after is None:
            return None
        request = HistoryRequest(self._after, self._before, self._filter).encode()
        answer = await ask(self._client, history_subject(self._profile), request)
        page = HistoryPage.decode(answer, is_shared=self._profile.is_shared)
        self._after = page.next
        return page


async def ask(client: Client, subject: str, request: bytes) -> bytes:
    """The publisher's answer. Raises the error it answers with, `Unavailable` when none answers."""
    with translated_nats(f"cannot read the history on {subject}"):
        try:
            answer = await client.request(subject, request, timeout=REQUEST_TIMEOUT_SECONDS)
        except nats.errors.NoRespondersError:
            raise Unavailable(
                f"the stream no longer holds all of it, and no publisher answers on {subject} to read the rest from "
                "the database: start imi-registry up or serve"
            ) from None
    raise_refusal(answer.headers)
    return answer.data
