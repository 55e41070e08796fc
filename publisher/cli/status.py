"""`imi-registry status`: is all well, is anything late, who is behind, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, NatsUrl, UpFolder
from publisher.cli.servers.session import checked_schema, located, reads, run
from publisher.cli.terminal.text import emit_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from publisher.doctor import Finding
    from publisher.settings import Settings
    from registry.models import RegistryStats

PROBLEMS = 1
CONSUMERS_SHOWN = 5
COPIES = ("mirror", "replica")


class Look(NamedTuple):
    """What one look found."""

    findings: list[Finding]
    levels: dict[str, dict[str, float]]
    """Values of each gauge of docs/metrics.md by label, or under the empty string."""
    stats: RegistryStats | None
    """None while somebody has locked a table."""

    @property
    def copy(self) -> Finding | None:
        """What is told of a registry that is a copy of another one; None of any other."""
        return next((finding for finding in self.findings if finding.check in COPIES), None)

    def value(self, gauge: str, label: str = "") -> float | None:
        """The value of a gauge; None where there is none."""
        return self.levels.get(gauge, {}).get(label)

    @property
    def problems(self) -> list[str]:
        """What is not well."""
        return [finding.text for finding in self.findings if not finding.is_well]


@reads
def status(
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show on one screen what waits, who is behind, and what is not well.

    Example: imi-registry status --watch
    """
    settings = located("database_url", "nats_url", database_url=database_url, nats_url=nats_url)
    checked_schema(settings)
    if watch and not as_json:
        run(_watch(settings), tells_blockers=False)
        return
    found = run(_look(settings), tells_blockers=False)
    if as_json:
        emit_json(
            {
                "problems": found.problems,
                "levels": {name: values.get("", values) for name, values in found.levels.items()},
                "registry": found.stats.model_dump() if found.stats is not None else None,
            }
        )
    else:
        from publisher.cli.terminal.text import console

        console().print(_screen(found, settings))
    if found.problems:
        raise typer.Exit(PROBLEMS)


async def _watch(settings: Settings) -> None:
    from publisher.cli.terminal.watching import watched

    async def show() -> RenderableType:
        return _screen(await _look(settings), settings)

    await watched(show)


async def _look(settings: Settings) -> Look:
    from publisher import doctor
    from publisher.gauges import streams
    from publisher.gauges.outbox import OutboxGauges
    from publisher.settings import profile_of
    from registry.database import Registry

    async with doctor.connections(settings) as (conn, client):
        found = await doctor.examined(conn, client, settings)
        levels = await streams.measure(client, profile_of(settings))
        if found.known is not None:
            levels += await OutboxGauges(settings.outbox_retention_days).measure(conn, found.known)
        look = Look(found.findings, {level.name: dict(level.values) for level in levels if level.values}, None)
        if found.known is not None or look.copy is not None:
            async with Registry.connect(settings.database_url or "", max_connections=1) as registry:
                look = look._replace(stats=await registry.get_registry_stats())
    return look


def _screen(found: Look, settings: Settings) -> Table:
    from rich.table import Table
    from rich.text import Text

    from publisher.cli.terminal.text import safe

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _lines(found, settings).items():
        grid.add_row(name, safe(text))
    grid.add_row("", "")
    if not found.problems:
        grid.add_row("well", Text("nothing is found here; imi-registry doctor looks closer", "green"))
    for problem in found.problems:
        grid.add_row(Text("not well", "red"), safe(problem))
    return grid


def _lines(found: Look, settings: Settings) -> dict[str, str]:
    from publisher.settings import profile_of

    profile = profile_of(settings)
    if found.copy is not None:
        return {found.copy.check: found.copy.text, **_registry(found.stats)}
    return {
        **_database(found),
        "stream": _stream(found, profile.event_stream),
        "consumers": _consumers(found),
        "commands": f"{found.value('imi_stream_messages', profile.commands.stream) or 0:,.0f} wait, "
        f"dead letters: {found.value('imi_stream_messages', profile.commands.dead_letter_stream) or 0:,.0f}",
        **_event_letters(found),
    }


def _event_letters(found: Look) -> dict[str, str]:
    """How many events each subscription could not handle; nothing where there are none."""
    counts = {name: count for name, count in found.levels.get("imi_event_dead_letters", {}).items() if count}
    said = [f"{name} {count:,.0f}" for name, count in list(counts.items())[:CONSUMERS_SHOWN]]
    more = f", and {len(counts) - CONSUMERS_SHOWN} more" if len(counts) > CONSUMERS_SHOWN else ""
    return {"dead letters": f"of subscriptions: {', '.join(said)}{more}"} if counts else {}


def _database(found: Look) -> dict[str, str]:
    stats = found.stats
    if stats is None:
        return {"database": "cannot be read now"}
    heard, waiting = found.value("imi_publisher_heartbeat_age_seconds"), found.value("imi_outbox_waiting_events") or 0
    late = f", the oldest for {_time(found.value('imi_outbox_oldest_waiting_seconds'))}" if waiting else ""
    oldest = found.value("imi_outbox_oldest_event_seconds")
    kept = "empty" if oldest is None else f"back to {_time(oldest)} ago"
    return {
        "publisher": "none so far" if heard is None else f"heard {_time(heard)} ago",
        "events": f"{waiting:,.0f} wait{late}",
        "outbox": f"{_bytes(found.value('imi_outbox_bytes'))}, {kept}",
        **_registry(stats),
    }


def _registry(stats: RegistryStats | None) -> dict[str, str]:
    if stats is None:
        return {}
    return {
        "registry": f"{stats.active_projects:,} projects, {stats.active_worktrees:,} worktrees, "
        f"{stats.in_flight_worktrees:,} of them in flight",
    }


def _stream(found: Look, name: str) -> str:
    messages = found.value("imi_stream_messages", name)
    if messages is None:
        return f"{name} is not there"
    return (
        f"{name}: {messages:,.0f} events, {_bytes(found.value('imi_stream_bytes', name))}, "
        f"the last at sequence {found.value('imi_stream_last_sequence', name) or 0:,.0f}"
    )


def _consumers(found: Look) -> str:
    count = found.value("imi_consumers") or 0
    ages = found.levels.get("imi_consumer_oldest_seconds", {})
    behind = sorted((name for name, age in ages.items() if age), key=lambda name: -ages[name])
    if not behind:
        return f"{count:,.0f}, none behind"
    shown = [f"{name} {_left(found, name):,.0f} events, {_time(ages[name])}" for name in behind[:CONSUMERS_SHOWN]]
    more = f", and {len(behind) - CONSUMERS_SHOWN} more" if len(behind) > CONSUMERS_SHOWN else ""
    return f"{count:,.0f}, behind: {'; '.join(shown)}{more}"


def _left(found: Look, consumer: str) -> float:
    pending = found.value("imi_consumer_pending_events", consumer) or 0
    return pending + (found.value("imi_consumer_unacknowledged_events", consumer) or 0)


def _time(seconds: float | None) -> str:
    seconds = seconds or 0
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}" if seconds < 10 else f"{seconds / unit:,.0f} {name}"
    return f"{seconds / 86_400:,.0f} days"


def _bytes(count: float | None) -> str:
    from rich.filesize import decimal

    return decimal(int(count or 0))
