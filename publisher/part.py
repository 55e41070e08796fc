"""A part of the service: it needs both servers, runs until it is cancelled, and says when it has settled."""

from __future__ import annotations

import asyncio
import os
import socket

from publisher.settings import Settings, profile_of
from registry.errors import Invalid


class Part:
    """What relay, applier, queries and history have in common."""

    def __init__(self, settings: Settings, what: str = "") -> None:
        """`what` is the part's name as PostgreSQL and NATS show it. Raises `Invalid` when a URL is missing."""
        if settings.database_url is None:
            raise Invalid("setting database_url: missing; set DATABASE_URL to the registry's database")
        if settings.nats_url is None:
            raise Invalid("setting nats_url: missing; set NATS_URL to the NATS server")
        self._database_url = settings.database_url
        self._nats_url = settings.nats_url
        self._settings = settings
        self._profile = profile_of(settings)
        self._name = " ".join(filter(None, ["imi-registry", what, socket.gethostname(), str(os.getpid())]))
        self.settled = asyncio.Event()
        """Set once this part does its work, or knows why another one does it, or it cannot."""

    async def run(self) -> None:
        """Work until cancelled; what waiting may heal is retried for ever. Raises what it cannot heal."""
        raise NotImplementedError
