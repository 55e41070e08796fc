"""Health: what the database says of the registry, its months, its statements that take long, and this service."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from publisher.web.console.console import Console, console_of
from publisher.web.console.health import BAD, NOTE, TO_DO, UNKNOWN, WELL, checks
from publisher.web.console.render import page
from registry.database.months import MONTHS, Month, ends
from registry.errors import RegistryError
from registry.models import HealthCheck, SlowQuery

STATES = {"bad": BAD, "warn": NOTE, "unknown": UNKNOWN, "ok": WELL}
"""States of the database's checks, the worst first, and how they look."""
MOST_STATEMENTS = 25

HEALTH = "SELECT * FROM public.registry_health()"
SLOW = "SELECT * FROM public.registry_slow_queries(%(limit)s::int)"


async def _health(request: Request) -> Response:
    console, found, problem = console_of(request), list[HealthCheck](), ""
    slow, unrecorded = list[SlowQuery](), ""
    months = list[Month]()
    try:
        found = await console.database.rows(HealthCheck, HEALTH, {})
        found.sort(key=lambda check: list(STATES).index(check.state))
        months = await console.database.rows(Month, MONTHS, {})
        slow, unrecorded = await _slow(console)
    except RegistryError as error:
        problem = str(error)
    return page(
        request,
        "health.html",
        found=found,
        problem=problem,
        to_do=TO_DO["PostgreSQL"],
        states=STATES,
        slow=slow,
        unrecorded=unrecorded,
        months=months,
        ends=ends(months, datetime.now(UTC)),
        checks=checks(console),
    )


async def _slow(console: Console) -> tuple[list[SlowQuery], str]:
    """The statements, or why there are none."""
    try:
        return await console.database.rows(SlowQuery, SLOW, {"limit": MOST_STATEMENTS}), ""
    except RegistryError as error:
        return [], str(error)


ROUTES = [Route("/health", _health)]
