"""A replay on the terminal or in a pipe: its pace, its lines, its progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from time import monotonic

from publisher.cli.terminal.text import console, line_printer
from publisher.text import json_line, visible_json
from registry.errors import Invalid
from registry.events.envelope import attributes_of
from registry.history.pages import Replayed

EVENTS_PER_UPDATE = 500


async def at_original_pace(events: AsyncIterator[Replayed]) -> AsyncIterator[Replayed]:
    """`events`, each as long after the first one as it occurred after it."""
    first: datetime | None = None
    began = 0.0
    async for event in events:
        occurred_at = _time(event)
        if occurred_at is not None:
            if first is None:
                first, began = occurred_at, monotonic()
            await asyncio.sleep((occurred_at - first).total_seconds() - (monotonic() - began))
        yield event


def _time(event: Replayed) -> datetime | None:
    """When it occurred; None for an event that cannot be read."""
    try:
        return datetime.fromisoformat(attributes_of(event.payload)["time"])
    except Invalid:
        return None


async def until_interrupted(events: AsyncIterator[Replayed]) -> AsyncIterator[Replayed]:
    """`events`; Ctrl-C ends them where the last one was shown, so that a token can tell where to go on."""
    try:
        async for event in events:
            yield event
    except asyncio.CancelledError:
        return


async def show(events: AsyncIterator[Replayed], *, as_json: bool, follow: bool, total: int) -> str | None:
    """Print each event; returns the token behind the last one.

    With a `total`, the sequence of the last event to come, a bar on standard error shows rate and time left.
    """
    show_one = _json_printer(is_flushed=follow or sys.stdout.isatty()) if as_json else _line_printer()
    last: Replayed | None = None
    with _bar(total) as advance:
        async for last in until_interrupted(events):
            show_one(last.payload)
            advance(last.sequence)
    sys.stdout.buffer.flush()
    return None if last is None else str(last.position)


def _json_printer(*, is_flushed: bool) -> Callable[[bytes], None]:
    out = sys.stdout.buffer

    def write(payload: bytes) -> None:
        out.write(f"{visible_json(json_line(payload))}\n".encode())
        if is_flushed:
            out.flush()

    return write


def _line_printer() -> Callable[[bytes], None]:
    from publisher.cli.terminal.lines import line_of

    screen = console()
    show_line = line_printer(screen)
    return lambda payload: show_line(line_of(payload, width=screen.width))


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar, which is told the sequence of each event that was shown; without a `total` there is none."""
    if not total:
        yield lambda _sequence: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.completed:,} of {task.total:,}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("replay", total=total, rate="")
        began = monotonic()
        numbers = count(1)

        def advance(sequence: int) -> None:
            number = next(numbers)
            if number == 1:
                bar.reset(task, completed=sequence - 1)  # what was skipped took no time
            if number % EVENTS_PER_UPDATE == 0:
                rate = f"{number / (monotonic() - began):,.0f} events/s"
                bar.update(task, completed=min(sequence, total), rate=rate)

        yield advance
