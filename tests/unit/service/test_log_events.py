"""docs/logs.md names every event that is logged at level info or worse, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from registry.concurrency.outage import MOST_REASONS, is_told

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "logs.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
OF_PARTS = re.compile(r"(PART|\w[\w ]*) (interrupted|failed|goes on)")
IN_POSITION = {"info": 0, "warning": 0, "error": 0, "note": 0, "say": 0, "_say_once": 0, "failed": 1}
"""Which argument of a call is the event."""
LIBRARIES = {"waiting for %s, which holds or asks for a lock that is needed here"}
"""By Python's `logging`, in a program that uses registry.database."""


def logged() -> Iterator[str]:
    """The events of all calls that log, as far as they stand there as text."""
    for file in [*(ROOT / "publisher").rglob("*.py"), *(ROOT / "registry").rglob("*.py")]:
        if "cli" in file.parts:  # what commands say to who typed them
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield from _event(node)


def _event(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    owner, _, method = name.rpartition(".")
    position = IN_POSITION.get(method)
    is_log = owner in {"log", ""} if method in {"info", "warning", "error", "say"} else "console" not in name
    if position is None or not is_log or len(call.args) <= position:
        return
    event = call.args[position]
    if isinstance(event, ast.Constant) and isinstance(event.value, str):
        yield event.value


def test_the_page_names_each_event_and_no_other() -> None:
    found = set(logged()) - LIBRARIES
    assert len(found) > 30
    assert {event for event in found if event not in NAMED and not OF_PARTS.fullmatch(event)} == set()
    assert {event for event in NAMED if event not in found and not OF_PARTS.fullmatch(event)} == set()


def test_of_any_number_of_things_a_few_are_told() -> None:
    told = [count for count in range(1, 1_000_001) if is_told(count)]
    assert told[: MOST_REASONS + 2] == [1, 2, 3, 4, 5, 6, 7, 8, 16, 32]
    assert len(told) < 30
