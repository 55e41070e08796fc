"""Whether who leads by a consumer is connected, as the server knows it.

Each listens on a subject of its own and says nothing there. Who leads names it in the metadata of the consumer, and who
stands by asks: the server answers at once when nobody listens.
Why: docs/adr/0005-commands.md.
"""

from __future__ import annotations

import asyncio
import re

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from registry.broker.permitted import NotPermitted
from registry.validation import INBOX

LISTENS_ON = "imi-listens-on"
"""Key in the metadata."""
MOST_CHARACTERS = 250
"""A server ends the connection on which a subject of thousands is said."""
ASK_AGAIN_SECONDS = 0.1
"""Where nobody listens any longer the server is asked once more, so much later."""


class Presence:
    """One process's own, and how it sees the leader's."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._subject = client.new_inbox()
        self._was_there: str | None = None
        """Where somebody has listened. Who was never heard of may be where the server's knowledge does not reach."""
        self._may_ask = True

    @property
    def metadata(self) -> dict[str, str]:
        """What a consumer says of the one who leads by it."""
        return {LISTENS_ON: self._subject}

    async def show(self) -> None:
        """Listen until the connection ends. Raises what nats-py raises."""
        await self._client.subscribe(self._subject, cb=_nothing)

    async def is_over(self, metadata: dict[str, str], seconds: float) -> bool:
        """Wait `seconds`, or until it is known that the leader whose `metadata` these are is connected no longer.

        Raises what nats-py raises.
        """
        subject = metadata.get(LISTENS_ON, "")  # one of an earlier version says nothing
        is_inbox = len(subject) <= MOST_CHARACTERS and re.fullmatch(INBOX, subject)
        if not self._may_ask or not is_inbox:
            await asyncio.sleep(seconds)
        elif await self._is_heard(subject, seconds):
            self._was_there = subject
        elif self._was_there == subject:
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            return not await self._is_heard(subject, seconds)
        else:
            await asyncio.sleep(seconds)
        return False

    async def _is_heard(self, subject: str, seconds: float) -> bool:
        """Whether somebody listens: so he does when for `seconds` the server has said nothing."""
        try:
            async with asyncio.timeout(seconds):
                await self._ask(subject, seconds)
                await asyncio.sleep(seconds)  # whoever answers is not asked more often for it
        except nats.errors.NoRespondersError:
            return False
        except (nats.errors.TimeoutError, TimeoutError):
            pass
        return True

    async def _ask(self, subject: str, seconds: float) -> None:
        try:
            await self._client.request(subject, timeout=seconds)
        except NotPermitted:
            self._may_ask = False


async def _nothing(message: Msg) -> None:
    """What the leader says."""
