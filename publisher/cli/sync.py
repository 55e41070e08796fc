"""`imi-registry sync`: the registry follows the git checkouts of a folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from publisher.cli.arguments.folders import absolute
from publisher.cli.arguments.options import Actor, AsJson, DatabaseUrl, UpFolder
from publisher.cli.servers.session import with_registry
from publisher.cli.terminal.text import emit_document, say, write
from publisher.text import visible
from registry.errors import Unavailable, Unusable

if TYPE_CHECKING:
    from publisher.checkouts.results import Result
    from registry.database import Registry

STYLES = {"registered": "green", "updated": "cyan", "retired": "yellow", "skipped": "dim", "failed": "red"}


def sync(
    folder: Annotated[
        Path, typer.Argument(help="Where the checkouts are, at any depth.", show_default="this folder")
    ] = Path(),
    interval: Annotated[
        float | None,
        typer.Option("--interval", help="Again after so many seconds, until Ctrl-C.", min=0.1, show_default=False),
    ] = None,
    database_url: DatabaseUrl = None,
    _state_dir: UpFolder = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Register the git checkouts in a folder with their linked work trees, and update what changed in them.

    What cannot be synced is reported and stops nothing else; the exit code is 1 then.

    Example: imi-registry sync ~/code --interval 60
    """
    import asyncio

    root = absolute(folder)
    if not os.path.isdir(root):  # False, too, for a name that is too long
        raise Unusable(f'"{folder}": is no folder that is there')

    async def work(registry: Registry) -> bool:
        while True:
            try:
                results = await _once(registry, root, as_json)
                is_good = not any(result.outcome == "failed" for result in results)
            except Unavailable as error:
                if interval is None:
                    raise
                say(f"imi-registry: {error}")
            if interval is None:
                return is_good
            await asyncio.sleep(interval)

    if not with_registry(work, database_url, actor):
        raise typer.Exit(1)


async def _once(registry: Registry, root: Path, as_json: bool) -> list[Result]:
    """One pass, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from publisher.checkouts.sync import Sync

    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("looking for checkouts", total=None)
        results = await Sync.run(
            registry,
            root,
            lambda done, total, path: bar.update(task, completed=done, total=total, description=visible(path.name)),
        )
    _show(results, root, as_json)
    return results


def _show(results: list[Result], root: Path, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    counted = Counter(result.outcome for result in results)
    if as_json:
        found = {"counts": counted, "results": [asdict(result) for result in results]}
        emit_document(json.dumps(found, ensure_ascii=False))
        return
    from rich.text import Text

    from publisher.cli.terminal import tables

    changed = [result for result in results if result.outcome != "unchanged"]
    if changed:
        tables.print_table(
            {
                "": [Text(result.outcome, STYLES[result.outcome]) for result in changed],
                "what": [result.kind for result in changed],
                "path": [os.path.relpath(result.path, root) for result in changed],
                "detail": [result.detail for result in changed],
            },
            empty="",
        )
    write(", ".join(f"{count} {outcome}" for outcome, count in counted.items()) or "no checkouts found")
