"""A timeline on the terminal, or as JSON."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from publisher.cli.arguments.times import printed
from publisher.cli.terminal.lines import STYLES
from publisher.cli.terminal.text import console, emit_json, whole_line_printer, write
from publisher.history.timeline import Change, Timeline
from registry import exact

HIDDEN = {"updated_at", "last_sync_at"}
"""Fields that change with every other one: not worth a line of their own."""


def changes(timeline: Timeline, *, diff: bool, as_json: bool) -> None:
    """Print each change; with `diff` each changed field on a line of its own."""
    if as_json:
        emit_json([_as_dict(change) for change in timeline.changes])
        return
    show = whole_line_printer(console())
    for change in timeline.changes:
        row = change.row
        line = Text(f"{printed(change.time)} ", "dim")
        line.append(row.action.ljust(18), STYLES.get(row.action, "default"))
        line.append((row.actor or "-").ljust(14))
        fields = [(name, before, after) for name, before, after in change.fields if name not in HIDDEN]
        if not diff:
            line.append(" ".join(f"{name}={_short(after)}" for name, _, after in fields))
        if row.causation_id:
            line.append(f" command {row.causation_id}", "dim")
        line.rstrip()
        show(line)
        if diff:
            for name, before, after in fields:
                show(
                    Text(f"{'':20}{name}: ").append(_short(before), "red").append(" → ").append(_short(after), "green")
                )


def state(fields: dict[str, Any] | None, *, as_json: bool) -> None:
    """Print the fields of a state; None is one that was deleted."""
    if as_json:
        emit_json(fields)
    elif fields is None:
        write("deleted")
    else:
        width = max(map(len, fields))
        show = whole_line_printer(console())
        for name, value in fields.items():
            show(Text(f"{name.ljust(width)}  ", "dim").append(_short(value)))


def _as_dict(change: Change) -> dict[str, Any]:
    """Keys of ours, and beside them those of the envelope."""
    row = change.row
    correlation_id = row.correlation_id or row.event_id
    return {
        "id": row.event_id,
        "correlationid": correlation_id,
        "causationid": row.causation_id,
        "time": row.occurred_at,
        "action": row.action,
        "actor": row.actor,
        "command": row.causation_id,
        "correlation_id": correlation_id,
        "event_id": row.event_id,
        "changed": {name: {"before": before, "after": after} for name, before, after in change.fields},
    }


def _short(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return exact.dumps(value).decode()
