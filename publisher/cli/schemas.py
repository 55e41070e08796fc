"""`imi-registry schemas`: the language-neutral contract, to look at, to generate and to check against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from publisher.cli.arguments.options import AsJson
from publisher.cli.terminal.text import console, emit_document, write
from registry.errors import Conflict, NotFound, Unusable

READABLE = 20
"""Columns that a description needs beside the names; a narrower terminal gets the names alone."""
MOST_BYTES = 64 * 1024 * 1024
"""Of a message that is checked: NATS takes none that is larger."""

app = typer.Typer(no_args_is_help=True)

Old = Annotated[Path, typer.Argument(help="Folder or file as it was released.")]
New = Annotated[Path, typer.Argument(help="Folder or file as it shall be.")]


@app.command()
def generate(
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: schemas/.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file is not up to date.")] = False,
) -> None:
    """Write the documents that this version's models make.

    Example: imi-registry schemas generate --check
    """
    from registry.schemas import generate as schemas
    from registry.schemas.files import folder, load

    target = out or folder()
    if not check:
        try:
            changed = schemas.write(target)
        except OSError as error:
            raise Unusable(f"{target}: {error.strerror}") from error
        write(f"{target}: {len(changed)} written" if changed else f"{target}: up to date")
        return
    stale = schemas.differing(load(target))
    if stale:
        raise Conflict(f"{target}: not what the models say: {', '.join(stale)}; run imi-registry schemas generate")
    write(f"{target}: up to date")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the documents.

    Example: imi-registry schemas list --json
    """
    import json

    from rich.table import Table

    from registry.schemas.files import folder, load

    found = load(folder())
    names = {path.removesuffix(".json"): document for path, document in found.items()}
    if as_json:
        emit_document(json.dumps([{"name": name, "id": _urn(document)} for name, document in names.items()]))
        return
    longest = max(map(len, names))
    out = console()
    if out.width < longest + READABLE:
        for name in names:
            write(name)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=longest)
    table.add_column(overflow="fold", style="dim")
    for name, document in names.items():
        description = document.get("description", "The AsyncAPI document: channels, operations, messages.")
        table.add_row(name, description.splitlines()[0])
    out.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name, $id or message type; see `schemas list`.")]) -> None:
    """Print one document.

    Example: imi-registry schemas show worktree.merged.v1
    """
    import json
    from difflib import get_close_matches

    from registry.schemas.files import folder, load

    found = load(folder())
    names = {alias: path for path, document in found.items() for alias in _aliases(path, _urn(document))}
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "see imi-registry schemas list"
        raise NotFound(f'no schema "{name}"; {hint}')
    emit_document(json.dumps(found[names[name]], indent=2, ensure_ascii=False))


@app.command()
def check(file: Annotated[Path, typer.Argument(help="JSON or JSON Lines; - reads standard input.")]) -> None:
    """Check events or commands against the schemas: one line for each fault.

    Example: imi-registry events tail --json | imi-registry schemas check -
    """
    total = broken = 0
    for place, faults in _checked(file):
        for fault in faults:
            write(f"{place}: {fault}")
        total += 1
        broken += bool(faults)
    if not total:
        raise Unusable(f"{file}: empty")
    if broken:
        raise Unusable(f"{file}: {broken} of {total} messages break the contract")
    write(f"{file}: {total} {'message keeps' if total == 1 else 'messages keep'} to the contract")


@app.command("check-compat")
def check_compat(old: Old, new: New) -> None:
    """Refuse what breaks a consumer or an old event without a new major version.

    Example: imi-registry schemas check-compat released/schemas schemas
    """
    from registry.schemas.compatibility import breaking_changes
    from registry.schemas.files import load

    before, after = load(old), load(new)
    if not any("$schema" in document for document in before.values()):
        raise Unusable(f"{old}: no JSON Schema there")
    if old.is_file() and new.is_file():
        before = dict(zip(after, before.values(), strict=True))
    problems = list(breaking_changes(before, after))
    for problem in problems:
        write(problem)
    if problems:
        changes = "breaking change" if len(problems) == 1 else "breaking changes"
        raise Conflict(f"{new}: {len(problems)} {changes} without a new major version")
    write(f"{new}: compatible with {old}")


def _checked(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Place and faults of each message: of each line, or of the whole file where its first line is no JSON."""
    from registry import exact
    from registry.schemas.conformance import faults

    def judged(text: bytes) -> list[str]:
        try:
            return list(faults(exact.loads_given(text)))
        except ValueError as error:
            return [f"message: not JSON: {error}"]

    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines:
            for number, line in enumerate(iter(partial(lines.readline, MOST_BYTES + 1), b""), start=1):
                is_whole = number == 1 and line.strip() in (b"{", b"[")
                text = line + lines.read(MOST_BYTES + 1) if is_whole else line
                if len(text) > MOST_BYTES:
                    raise Unusable(f"{file}: line {number} has more than {MOST_BYTES:,} bytes, as no message can have")
                if text.strip():
                    yield str(file) if is_whole else f"{file}:{number}", judged(text)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from error


def _urn(document: dict[str, Any]) -> str:
    return str(document.get("$id") or document.get("id"))


def _aliases(path: str, urn: str) -> tuple[str, ...]:
    name = path.removesuffix(".json")
    short = name.split("/")[-1]
    return name, path, short, f"imi.{short}", urn
