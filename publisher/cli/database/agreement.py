"""`imi-registry agreement …`: which id each origin has, in all registries that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder, Yes
from publisher.cli.arguments.usage import confirm
from publisher.cli.servers.session import located_schema, required, run, settings_of
from publisher.cli.terminal.text import emit_json, say, write
from registry.urls import without_credentials

if TYPE_CHECKING:
    from publisher.agreement.bucket import BucketState
    from publisher.settings import Settings

app = typer.Typer(help="Which id each origin has, in all registries that agree.", no_args_is_help=True)

SESSION = "imi-registry agreement"


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show where registries agree, and whether a quorum is there.

    Example: imi-registry agreement status
    """
    state = run(_state(_settings()))
    if as_json:
        emit_json(state._asdict())
        return

    from publisher.cli.terminal import tables

    tables.print_details(
        {
            "bucket": state.name,
            "replicas": state.replicas,
            "away": state.away,
            "leader": state.leader or ("none" if state.replicas > 1 else None),
            "origins": f"{state.origins:,}",
        }
    )


async def _state(settings: Settings) -> BucketState:
    from publisher.agreement.bucket import connect_bucket

    async with connect_bucket(settings, SESSION, reconnect=False) as bucket:
        return await bucket.state()


@app.command("settle")
def settle(database_url: DatabaseUrl = None, _state_dir: UpFolder = None, as_json: AsJson = False) -> None:
    """Compare the projects here with what registries agreed on, once; serve does it all the time.

    The exit code is 1 where a project keeps another id than was agreed on.

    Example: imi-registry agreement settle
    """
    from publisher.agreement.keeper import settle as settle_once
    from publisher.agreement.standing import to_settle

    settings = located_schema(database_url)
    required(settings, "agreement_nats_url")
    looked = run(settle_once(settings, SESSION))
    if as_json:
        emit_json(
            {
                "projects": looked.projects,
                "changed": [change._asdict() for change in looked.changed],
                "unsettled": {origin: one.reason for origin, one in looked.unsettled.items()},
            }
        )
    else:
        for change in looked.changed:
            write(f"{change.remote_origin} is {change.project_id} now; {change.former_id} goes on to mean it")
        for origin, one in looked.unsettled.items():
            say(f"{origin} keeps its id: {one.reason}")
        if looked.unsettled:
            say(to_settle("ORIGIN", "THIS", "OTHER"))
        agreed = looked.projects - len(looked.unsettled)
        write(f"{agreed:,} of {looked.projects:,} projects have the id that was agreed on")
    if looked.unsettled:
        raise typer.Exit(1)


@app.command("forget")
def forget(
    origin: Annotated[str, typer.Argument(help="GitHub origin, ssh or https.")],
    yes: Yes = False,
) -> None:
    """Let registries decide anew about an origin, as when another repository has it now.

    The first of them that has a project of this origin says which id it has from then on.

    Example: imi-registry agreement forget git@github.com:33god/engine.git --yes
    """
    settings = _settings()
    named = without_credentials(origin)
    confirm(f"let registries decide anew which id {named} has?", yes)
    write(f"{named} is forgotten" if run(_forget(settings, origin)) else f"nothing was agreed on {named}")


async def _forget(settings: Settings, origin: str) -> bool:
    from publisher.agreement.bucket import connect_bucket

    async with connect_bucket(settings, SESSION, reconnect=False) as bucket:
        return await bucket.forget(origin)


def _settings() -> Settings:
    settings = settings_of()
    required(settings, "agreement_nats_url")
    return settings
