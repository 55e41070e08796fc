"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from publisher.cli.arguments import completion
from publisher.cli.arguments.folders import expanded
from publisher.cli.arguments.times import IN_UTC
from publisher.cli.servers.session import IS_FOLDER_NAMED, UP_FOLDER
from registry.errors import Invalid
from registry.urls import without_credentials

T = TypeVar("T")

MOST = 2**63 - 1
"""The largest sequence of a stream, and number of a dead letter."""

StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        help="Folder that holds everything.",
        envvar="IMI_STATE_DIR",
        show_default=True,
        callback=lambda context, value: _state_dir(context, value),
    ),
]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="PostgreSQL URL; default: DATABASE_URL.", show_default=False)
]
NatsUrl = Annotated[str | None, typer.Option("--nats-url", help="NATS URL; default: NATS_URL.", show_default=False)]
HttpPort = Annotated[
    int | None, typer.Option("--http-port", help="Port of the status page; 0 takes a free one.", min=0, max=65535)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text for people.")]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor", help="Who the events name; default: your user name.", envvar="IMI_ACTOR", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Metadata = Annotated[
    str | None, typer.Option("--metadata", help="JSON object, merged by key with what is there.", show_default=False)
]
ProjectReference = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT",
        help="Name, origin, id (its beginning will do), or a checkout's folder.",
        autocompletion=completion.projects,
    ),
]
WorktreeReference = Annotated[
    str,
    typer.Argument(
        metavar="WORKTREE",
        help="Path (or a folder in it), name, NAME@PROJECT, or id (its beginning).",
        autocompletion=completion.worktrees,
    ),
]
HereOrReference = Annotated[
    str,
    typer.Argument(
        metavar="WORKTREE",
        help="Path, name, NAME@PROJECT, or id; default: here.",
        show_default=False,
        autocompletion=completion.worktrees,
    ),
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", help="Name, origin or id.", show_default=False, autocompletion=completion.projects),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host", help="Only what is on this host, by its name.", show_default=False, autocompletion=completion.hosts
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", help="Id of an agent.", show_default=False)]

Utc = Annotated[
    bool,
    typer.Option("--utc", help="Times in UTC; else in the local zone.", callback=lambda value: _set(IN_UTC, value)),
]
"""A command that prints times has this parameter; `times.printed` knows its value."""
UpFolder = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        help="Use the servers of the imi-registry up of this folder; default: IMI_STATE_DIR, or else .imi.",
        show_default=False,
        callback=lambda value: _set(UP_FOLDER, None if value is None else expanded(value)),
    ),
]
"""A command that uses servers has this parameter; `session.located` knows its value."""


def _set(variable: ContextVar[T], value: T) -> T:
    variable.set(value)
    return value


def _state_dir(context: typer.Context, value: Path) -> Path:
    source = context.get_parameter_source("state_dir")
    IS_FOLDER_NAMED.set(source is not None and source.name == "COMMANDLINE")
    return expanded(value)


def not_blank(value: str | None) -> str | None:
    """Callback of an option that may be left out, but not be blank."""
    if value is not None and not value.strip():
        raise typer.BadParameter("is blank")
    return value


def json_object(metadata: str | None) -> dict[str, Any] | None:
    """The JSON object given as --metadata, with all digits of its numbers. Raises `Invalid`."""
    from registry import exact

    if metadata is None:
        return None
    given = f"--metadata {without_credentials(metadata)!r:.80}"
    try:
        value = exact.checked(exact.loads_given(metadata), "metadata")
    except ValueError as error:
        raise Invalid(f"{given}: is not JSON: {error}") from None
    except Invalid as error:
        raise Invalid(f"{given}: {error}") from None
    if not isinstance(value, dict):
        raise Invalid(f"{given}: must be a JSON object")
    return value
