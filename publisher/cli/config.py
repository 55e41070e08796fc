"""`imi-registry config show`: every setting, its value, and where it comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import typer

from publisher.cli.arguments.options import AsJson, DatabaseUrl, NatsUrl, UpFolder
from publisher.cli.terminal.text import emit_json

if TYPE_CHECKING:
    from publisher.settings import Settings

app = typer.Typer(no_args_is_help=True)


class Shown(NamedTuple):
    """One setting."""

    value: object
    source: str


@app.callback()
def group() -> None:
    """The settings of this run."""


@app.command()
def show(
    database_url: DatabaseUrl = None,
    nats_url: NatsUrl = None,
    _state_dir: UpFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting, its value, and whether an argument, a variable, the file, a running up or nobody set it.

    One that is set, and does not count beside the URL of an argument or of that up, is "not used".
    Passwords and tokens are not shown.

    Example: imi-registry config show
    """
    from publisher.cli.servers.session import located

    given = {"database_url": database_url, "nats_url": nats_url}
    found = shown(located(**given), {name for name, value in given.items() if value})
    if as_json:
        emit_json({name: {"value": setting.value, "from": setting.source} for name, setting in found.items()})
        return
    from publisher.cli.terminal import tables

    tables.print_table(
        {
            "setting": list(found),
            "value": ["" if setting.value is None else str(setting.value) for setting in found.values()],
            "from": [setting.source for setting in found.values()],
        },
        empty="there are no settings",
        dispensable=(),
    )


def shown(settings: Settings, arguments: set[str]) -> dict[str, Shown]:
    """Every setting by name; `arguments` are those that the command line gave.

    A variable or the file is where those come from that are the same without arguments and a running up.
    """
    from publisher.settings import HIDDEN, SECRETS, Settings, load, of_file
    from registry.urls import redacted

    in_file, own = of_file(), load()
    found: dict[str, Shown] = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name in arguments:
            source = "argument"
        elif value == getattr(own, name):
            source = _source(name, in_file)
        else:
            source = "not used" if value == field.default else "a running up"
        if name in SECRETS and value is not None:
            value = HIDDEN
        elif name.endswith("_url") and value:
            value = redacted(value)
        elif not isinstance(value, bool | int | float | str | dict | None):
            value = str(value)
        found[name] = Shown(value, source)
    return found


def _source(name: str, in_file: dict[str, object]) -> str:
    from publisher.settings import FILE_VARIABLE, variables

    for variable in variables(name):
        if variable in os.environ:
            return variable
    if name in in_file:
        return os.environ[FILE_VARIABLE]
    return "default"
