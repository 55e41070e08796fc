"""`imi-registry up`, `serve` and `demo`: the commands that run the service."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from publisher.cli.arguments.folders import absolute, expanded
from publisher.cli.arguments.options import AsJson, DatabaseUrl, HttpPort, NatsUrl, StateDir
from publisher.cli.servers.installation import embedded
from publisher.cli.servers.session import required, run, settings_of
from publisher.cli.terminal.text import console, emit_document, line_printer, say
from registry.errors import Unusable

TOKEN_FILE = "http.token"  # noqa: S105  # where it is, not what it is
CANARY_SECONDS = 30.0
"""What `serve` does unless the setting says something else; the events of a shared stream are for others to read."""


def up(state_dir: StateDir = Path(".imi"), http_port: HttpPort = None) -> None:
    """Run everything here: PostgreSQL, NATS, relay, console. Ctrl-C stops it; the same folder continues.

    Example: imi-registry up --state-dir ~/.imi
    """
    from urllib.parse import urlencode

    from pydantic import SecretStr

    from publisher import tracing
    from publisher.embedded.state_dir import new_secret

    with embedded(state_dir, meanwhile=_import_service, http_port=http_port) as (settings, servers, publish):
        from publisher.service import serve as run_service

        if settings.http_token is None:  # as the port, another one each time: docs/security.md, while up is down
            settings = settings.model_copy(update={"http_token": SecretStr(new_secret(state_dir / TOKEN_FILE))})
        token = settings.http_token.get_secret_value() if settings.http_token else ""

        def ready(http_url: str) -> None:
            publish(settings, http_url)
            say(f"ready: {state_dir / 'endpoints.json'} names the URLs; status page {http_url}")
            say(f"console: {http_url}/sign-in?{urlencode({'token': token})}")

        with tracing.started():
            run(run_service(settings, ready=ready, children=servers), tells_blockers=False)
    say("stopped")


def _import_service() -> None:
    """It takes as long as the servers need to start."""
    import publisher.service  # noqa: F401  # importing it is what this is for


def serve(database_url: DatabaseUrl = None, nats_url: NatsUrl = None, http_port: HttpPort = None) -> None:
    """Run publisher, applier, queries and console against your servers. Run several: one leads.

    Example: DATABASE_URL=postgresql://localhost/imi NATS_URL=nats://localhost imi-registry serve
    """
    from publisher import tracing
    from publisher.service import serve as run_service
    from publisher.settings import PART_URLS
    from registry.errors import Invalid

    settings = settings_of(database_url=database_url, nats_url=nats_url, http_port=http_port)
    if not any(getattr(settings, name) for name in PART_URLS):
        required(settings, "database_url")
    required(settings, "nats_url")
    if settings.canary_seconds and settings.profile != "imi":
        raise Invalid(
            f'setting canary_seconds: value "{settings.canary_seconds:g}": profile {settings.profile} has no '
            "heartbeats: the contract of its stream has no name for them; it must be 0"
        )
    if settings.canary_seconds is None and settings.profile == "imi":
        settings = settings.model_copy(update={"canary_seconds": CANARY_SECONDS})
    with tracing.started():
        run(run_service(settings), tells_blockers=False)


def demo(
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Keep everything in this folder; default: a temporary one.")
    ] = None,
    scan: Annotated[Path, typer.Option("--scan", help="Folder to look for git checkouts in.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """See it work: change a real registry and watch the events arrive. Ends by itself.

    Example: imi-registry demo --json
    """
    import tempfile
    from dataclasses import asdict

    from publisher.cli.demo import Demo, Measured, summary
    from publisher.embedded.binaries import check_installed
    from publisher.service import serve as run_service

    scan = absolute(scan)
    if not os.path.isdir(scan):  # False, too, for a name that is too long
        raise Unusable(f'"{scan}": is no folder that is there')
    check_installed()
    out = console(quiet=as_json)
    results: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="imi-demo-") as temporary:
        folder = Path(temporary) if state_dir is None else expanded(state_dir)
        out.print("starting PostgreSQL and NATS …", style="dim")
        with embedded(folder, http_port=0, log_level="warning") as (settings, servers, _):

            async def work() -> None:
                out.print(f"subscribed to {settings.prefix}.evt.v1.>; writing with plain SQL\n", style="dim")
                results.append(await Demo(settings, scan, line_printer(out)).run())

            run(run_service(settings, children=servers, work=work), tells_blockers=False)
    if not results:
        say("stopped before the end")
        raise typer.Exit(1)
    out.print()
    out.print(summary(results[0]))
    if as_json:
        emit_document(json.dumps(asdict(results[0])))
