"""Draws docs/rooms.md from the imports: `python docs/rooms.py` writes it.

`--check` fails when it is out of date, or when a file or a folder is too large.
"""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from itertools import permutations
from pathlib import Path

import grimp
import sizes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "rooms.md"
PACKAGES = ("publisher", "registry")

HEAD = """# The rooms

Drawn from the imports by `python docs/rooms.py`; `./run lint` fails while it differs. An arrow points to what is
imported; one that follows from others is left out, and so is `registry.errors`, which every room imports. Which room
may import which is fixed in `pyproject.toml` (`tool.importlinter`). [changing.md](changing.md) tells which rooms a
change touches.
"""

Imports = set[tuple[str, str]]


def page() -> str:
    """The page as it must be: one diagram of both packages, then each room with what it is for."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    rooms = [room for package in PACKAGES for room in sorted(graph.find_children(package))]
    rooms = [room for room in rooms if not room.endswith("__main__")]
    drawn = [room for room in rooms if room != "registry.errors"]
    imports = {
        (room, other)
        for room, other in permutations(drawn, 2)
        if graph.direct_import_exists(importer=room, imported=other, as_packages=True)
    }
    return "\n".join([HEAD, *_diagram(drawn, _necessary(imports)), *_plan(rooms)])


def _necessary(imports: Imports) -> Imports:
    """`imports` without those that follow from others. Raises `CycleError` where rooms import each other."""
    direct: dict[str, set[str]] = {}
    for room, other in imports:
        direct.setdefault(room, set()).add(other)
    reached: dict[str, set[str]] = {}
    necessary = set()
    for room in TopologicalSorter(direct).static_order():
        others = direct.get(room, set())
        behind = set().union(*(reached[other] for other in others))
        necessary |= {(room, other) for other in others - behind}
        reached[room] = others | behind
    return necessary


def _diagram(rooms: list[str], imports: Imports) -> list[str]:
    lines = ["```mermaid", "flowchart TD"]
    for package in PACKAGES:
        lines.append(f"  subgraph {package}")
        lines += [f'    {room}["{_name(room)}"]' for room in rooms if room.startswith(f"{package}.")]
        lines.append("  end")
    lines += [f"  {room} --> {other}" for room, other in sorted(imports)]
    return [*lines, "```", ""]


def _plan(rooms: list[str]) -> list[str]:
    lines = []
    for package in PACKAGES:
        lines += [f"| {package}/ | what it is for |", "|---|---|"]
        lines += [f"| `{_name(room)}` | {_purpose(room)} |" for room in rooms if room.startswith(f"{package}.")]
        lines.append("")
    return lines


def _name(room: str) -> str:
    return room.partition(".")[2]


def _purpose(room: str) -> str:
    """The first paragraph of the room's docstring, on one line."""
    path = ROOT / room.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; returns the exit code."""
    wanted = page()
    if arguments == ["--check"]:
        is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted
        outdated = f"{PAGE.relative_to(ROOT)} does not show the imports of today: run python docs/rooms.py"
        problems = [*([] if is_current else [outdated]), *sizes.problems(ROOT)]
        for problem in problems:
            print(problem, file=sys.stderr)
        return int(bool(problems))
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
