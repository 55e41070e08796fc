"""`imi-registry search`: one search for projects, worktrees and activities."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, UpFolder, Utc
from publisher.cli.servers.session import reads, with_registry
from publisher.cli.terminal.text import emit_json
from registry.errors import Invalid
from registry.urls import without_credentials

if TYPE_CHECKING:
    from rich.text import Text

    from registry.database import Registry
    from registry.models import Kind, ProjectMatch, RegistryMatch


class Among(StrEnum):
    """What is looked for."""

    ALL = "all"
    PROJECT = "project"
    WORKTREE = "worktree"
    ACTIVITY = "activity"


@reads
def search(
    query: Annotated[
        str, typer.Argument(help='Words, or how they begin; "a phrase", or, -not. Typing errors are forgiven.')
    ],
    among: Annotated[
        list[Among] | None, typer.Option("--in", help="What is looked for; default: all.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Most things to show.", min=1, max=100)] = 20,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    _utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Find projects, worktrees and activities by what they are called and what people wrote: best first.

    Names, origins and paths, descriptions, messages of last commits, and what activities say. --json without --in has
    the projects alone, as programs know it; with --in, --json has what is asked for, and where the words stand.

    Example: imi-registry search "login -token" --in worktree
    """
    from registry.queries import MOST_QUERY_CHARACTERS

    if len(query) > MOST_QUERY_CHARACTERS:
        raise Invalid(
            f'query "{query:.40}…": it has {len(query)} characters, at most {MOST_QUERY_CHARACTERS} are allowed'
        )
    if as_json and not among:
        emit_json(with_registry(lambda registry: _projects(registry, query), database_url))
        return
    kinds = _kinds(among or [Among.ALL])

    async def work(registry: Registry) -> list[RegistryMatch]:
        return await registry.search_registry(query, limit=limit, kinds=kinds)

    found = with_registry(work, database_url)
    if as_json:
        emit_json(found)
    else:
        _print(found, query)


async def _projects(registry: Registry, query: str) -> list[ProjectMatch]:
    return await registry.search_projects(query)


def _kinds(among: list[Among]) -> list[Kind]:
    from registry.models import KINDS

    return [kind for kind in KINDS if Among.ALL in among or Among(kind) in among]


def _print(found: list[RegistryMatch], query: str) -> None:
    from publisher.cli.arguments.times import printed
    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "what": [match.kind for match in found],
            "name": [_name(match) for match in found],
            "says": [_marked(match.excerpt) for match in found],
            "where": [tables.slug(match.place or "") for match in found],
            "last": [printed(match.occurred_at).partition("T")[0] for match in found],
            "match": [f"{match.relevance:.0%}" for match in found],
            "id": tables.short_ids([match.id for match in found]),
        },
        empty=f"nothing like {without_credentials(query)}",
        dispensable=("id", "last", "match", "where"),
    )


def _name(match: RegistryMatch) -> str:
    """As other commands take it: a project's name, or `WORKTREE@PROJECT`."""
    name, project = match.name or "", match.project_name or ""
    return name if match.kind == "project" or not project else f"{name}@{project}"


def _marked(excerpt: list[str]) -> Text:
    """The text, with what was looked for in bold."""
    from rich.text import Text

    from publisher.text import visible

    return Text.assemble(*((visible(part), "bold" if number % 2 else "") for number, part in enumerate(excerpt)))
