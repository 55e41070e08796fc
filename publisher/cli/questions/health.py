"""`imi-registry health` and `slow-queries`: what the database says of the registry, without NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json

if TYPE_CHECKING:
    from registry.database import Registry
    from registry.models import HealthCheck, SlowQuery

PROBLEMS = 1
STYLES = {"ok": "green", "warn": "yellow", "bad": "red", "unknown": "dim"}


@reads
def health(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """Look how the registry is, as far as its database knows; the exit code is 1 where something is bad.

    The same as SELECT * FROM public.registry_health(). NATS is looked at by doctor, which tells what is not well here,
    too.

    Example: imi-registry health --json
    """
    from rich.text import Text

    from publisher.cli.terminal import tables

    async def work(registry: Registry) -> list[HealthCheck]:
        return await registry.registry_health()

    found = with_registry(work, database_url)
    if as_json:
        emit_json(found)
    else:
        rows = []
        for check in found:
            rows.append((Text(check.state, STYLES[check.state]), check.name, check.what))
            if check.hint:  # below, with all of the column: beside it both would be too narrow to be read
                rows.append((Text(), "", f"to do: {check.hint}"))
        states, names, said = zip(*rows, strict=True)
        tables.print_table(
            {"state": states, "check": names, "found": said}, empty="nothing was looked at", dispensable=()
        )
    if any(check.state == "bad" for check in found):
        raise typer.Exit(PROBLEMS)


@reads
def slow_queries(
    limit: Annotated[int, typer.Option("--limit", help="Most statements to show.", min=1, max=1000)] = 20,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show the registry's statements by the time that they took in all, where pg_stat_statements records them.

    Example: imi-registry slow-queries --limit 5
    """
    from publisher.cli.terminal import tables

    async def work(registry: Registry) -> list[SlowQuery]:
        return await registry.registry_slow_queries(limit)

    found = with_registry(work, database_url)
    if as_json:
        emit_json(found)
        return
    tables.print_table(
        {
            "calls": [f"{query.calls:,}" for query in found],
            "mean ms": [f"{query.mean_ms:,.2f}" for query in found],
            "max ms": [f"{query.max_ms:,.1f}" for query in found],
            "all s": [f"{query.total_ms / 1000:,.1f}" for query in found],
            "in memory": ["" if query.hit_ratio is None else f"{query.hit_ratio:.0%}" for query in found],
            "user": [query.user_name or "" for query in found],
            "statement": [query.query for query in found],
        },
        empty="no statement of the registry is on record",
        dispensable=("user", "in memory", "max ms"),
    )
