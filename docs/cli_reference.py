"""Writes docs/cli-reference.md from the program: `python docs/cli_reference.py`; `--check` fails when it differs."""

from __future__ import annotations

import enum
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from publisher.cli.arguments.deferred import loaded
from publisher.cli.main import app

PAGE = Path(__file__).resolve().with_name("cli-reference.md")
HEAD = """# Command line reference

Written from the program by `python docs/cli_reference.py`; `./run lint` fails while it differs. The tour, with what the
commands print: [cli.md](cli.md). Every command also has `--help`; under the form of each stands an example.
"""
TABLE = "| argument, option | default | meaning |\n|---|---|---|"
SHARED_BY = 5
"""Options of so many commands, told alike, stand once."""
KINDS = {int: "NUMBER", float: "NUMBER", Path: "PATH"}


def page() -> str:
    """The page as it must be: what many commands share, then one section a command, in the order of `--help`."""
    commands = dict(_commands(get_command(app)))
    options = [found for command in commands.values() for found in _parameters(command) if not _is_argument(found)]
    counted = Counter(map(_row, options))
    usual = {_name(row): row for row, _ in reversed(counted.most_common())}  # another one by that name stands by itself
    shared = [row for row, times in counted.items() if times >= SHARED_BY and usual[_name(row)] == row]
    lines = [HEAD, "## Options that many commands have\n", TABLE, *shared, ""]
    for path, command in commands.items():
        lines += _section(path, command, set(shared))
    return "\n".join(lines)


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _commands(loaded(child), (*path, name))


def _section(path: tuple[str, ...], command: Any, shared: set[str]) -> Iterator[str]:
    words, _, example = (command.help or "").partition("Example: ")
    parameters = _parameters(command)
    usage = ["imi-registry", *path, "[OPTIONS]", *(_usage(found) for found in parameters if _is_argument(found))]
    yield f"## {' '.join(path)}\n"
    yield "\n\n".join(" ".join(paragraph.split()) for paragraph in words.strip().split("\n\n")) + "\n"
    yield f"```text\n{' '.join(usage)}\n{' '.join(example.split())}\n```\n"
    own = [row for row in map(_row, parameters) if row not in shared]
    common = [parameter.opts[0] for parameter in parameters if _row(parameter) in shared]
    if own:
        yield "\n".join([TABLE, *own, ""])
    if common:
        yield f"{'And' if own else 'Options:'} {', '.join(f'`{name}`' for name in common)}.\n"


def _parameters(command: Any) -> list[Any]:
    return [found for found in command.params if found.name != "help" and not getattr(found, "hidden", False)]


def _row(parameter: Any) -> str:
    return f"| {_names(parameter)} | {_default(parameter)} | {_cell(parameter.help)} |"


def _name(row: str) -> str:
    return row.split(" | ")[0]


def _is_argument(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "argument"


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_usage(parameter)}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} {_value(parameter)}"


def _value(option: Any) -> str:
    """What stands behind an option: one of its choices, or the kind of its value."""
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " / ".join(f"`{choice.value}`" for choice in kind)
    return _cell(option.metavar or KINDS.get(kind, "TEXT"))


def _default(parameter: Any) -> str:
    variables = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
    told = [f"`{name}`" for name in variables]
    default = parameter.default
    if parameter.required:
        told.append("required")
    elif isinstance(default, str | int | float | Path) and not isinstance(default, bool) and str(default):
        told.append(f"`{default.value if isinstance(default, enum.Enum) else default}`")
    return ", else ".join(told)


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; returns the exit code."""
    wanted = page()
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"docs/{PAGE.name} does not show the options of today: run python docs/cli_reference.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
