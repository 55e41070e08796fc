"""Everything that the pages share: where they read, what they know of this process, who may act."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, cast

from starlette.requests import Request

from publisher.agreement.health import AgreementHealth
from publisher.agreement.standing import Unsettled
from publisher.applier.metrics import ApplierMetrics
from publisher.doctor import Findings
from publisher.health import Health
from publisher.relay.metrics import RelayMetrics
from publisher.settings import Settings
from publisher.web.console.action_log import ActionLog
from publisher.web.console.session import Sessions
from publisher.web.console.sources.broker import Broker
from publisher.web.console.sources.database import Database
from publisher.web.console.sources.feed import Feed
from publisher.web.console.sources.picture import Pictures
from publisher.web.console.sources.proof import Proofs
from publisher.web.console.sources.samples import Samples
from publisher.web.rates import Rate
from publisher.web.tries import Tries
from registry.profiles.profile import Profile

MOST_TOLD = 100
ACTS = (60, 0.2)
"""So many at once, then one each so many seconds."""


class Console:
    """The console of one service."""

    def __init__(
        self,
        settings: Settings,
        relay: RelayMetrics,
        applier: ApplierMetrics,
        findings: Findings,
        others: Sequence[Health] = (),
    ) -> None:
        """`others` are the parts of this process beside relay and applier."""
        self.settings = settings
        self.relay = relay
        self.applier = applier
        self.findings = findings
        self.others = list(others)
        self.database = Database(settings, relay.registry)
        self.broker = Broker(settings, relay.registry)
        self.samples = Samples(settings, relay, self.database, relay.registry)
        self.pictures = Pictures(self.database)
        self.feed = Feed(settings, self.database, relay.registry)
        token = settings.http_token
        self.sessions = Sessions(token.get_secret_value() if token else None)
        self.tries = Tries()
        self.acts = Rate(*ACTS)
        """What is done, by session."""
        self.log = ActionLog(settings, self.broker, relay.registry)
        self.proofs = Proofs(settings)
        self.shared: dict[str, Any] = {}
        """What was made for one page and is the same for all who look at it."""
        self._told: dict[str, str] = {}
        self.closing = asyncio.Event()
        """Set when the service ends, so that no answer that goes on and on keeps it."""

    @property
    def profile(self) -> Profile:
        """The names in the streams."""
        return self.broker.profile

    @property
    def unsettled(self) -> Mapping[str, Unsettled]:
        """By origin, the projects that keep another id than registries agreed on, as far as this process looks."""
        looking = [health for health in self.others if isinstance(health, AgreementHealth)]
        return looking[0].unsettled if looking else {}

    def tell(self, text: str) -> str:
        """Keep what the next page is to tell that has what this returns for its `told`."""
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        name = secrets.token_hex(8)
        self._told[name] = text
        return name

    def told(self, name: str) -> str:
        """What a page is to tell; once."""
        return self._told.pop(name, "")

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the parts of the service, each until it is cancelled."""
        parts = [self.database, self.broker, self.samples, self.feed, self.log]
        return [*(part.run() for part in parts), self._close_at_the_end()]

    async def _close_at_the_end(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.closing.set()
            await self.proofs.stop()


def console_of(request: Request) -> Console:
    """The console that a request is for."""
    return cast(Console, request.app.state.console)
