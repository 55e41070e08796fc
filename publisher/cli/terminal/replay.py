"""A replay on the terminal or in a pipe: its pace, its lines, its progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from publisher.cli.terminal.lines import line_of
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
    out, is_terminal = sys.stdout.buffer, sys.stdout.isatty()
    screen = console()
    show_line = line_printer(screen)
    last: Replayed | None = None
    bar = Progress(
        TextColumn("{task.completed:,} of {task.total:,}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not total,
    )
    with bar:
        task = bar.add_task("replay", total=total, rate="")
        began = monotonic()
        number = 0
        async for last in until_interrupted(events):
            number += 1
            if number == 1:
                bar.reset(task, completed=last.sequence - 1)  # what was skipped took no time
            if as_json:
                out.write(f"{visible_json(json_line(last.payload))}\n".encode())
                if follow or is_terminal:
                    out.flush()
            else:
                show_line(line_of(last.payload, width=screen.width))
            if total and number % EVENTS_PER_UPDATE == 0:
                rate = f"{number / (monotonic() - began):,.0f} events/s"
                bar.update(task, completed=min(last.sequence, total), rate=rate)
    out.flush()
    return None if last is None else str(last.position)
