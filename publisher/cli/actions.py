"""`imi-registry actions`: the log of actions."""

from __future__ import annotations

from typing import Annotated

import typer

from publisher.cli.arguments.options import AsJson, NatsUrl, UpFolder, Utc
from publisher.cli.arguments.times import printed
from publisher.cli.servers.session import located, run
from publisher.cli.terminal.text import emit_json

MOST = 1000


def actions(
    last: Annotated[int, typer.Option("--last", help="How many, the latest first.", min=1, max=MOST)] = 50,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Tell who did what in consoles and, with dead letters, on command lines. With --json one a line.

    Example: imi-registry actions --last 10
    """
    from publisher.actions import Actions, Entry
    from publisher.settings import profile_of
    from registry.broker.connection import connect_nats

    settings = located("nats_url", nats_url=nats_url)

    async def work() -> list[Entry]:
        async with connect_nats(settings.nats_url or "", "imi-registry actions", settings.nats_access) as client:
            return await Actions(client, profile_of(settings).letters).latest(last)

    found = run(work())
    if as_json:
        for entry in found:
            emit_json(entry.action._asdict() | {"id": entry.id, "means": entry.means, "host": entry.host})
        return

    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "when": [printed(entry.action.at) for entry in found],
            "who": [entry.action.who for entry in found],
            "where": [f"{entry.means} on {entry.host}" for entry in found],
            "what": [entry.action.what for entry in found],
            "about": [entry.action.about for entry in found],
            "outcome": [entry.action.outcome for entry in found],
        },
        empty="nothing was done yet",
        dispensable=("where", "outcome"),
    )
