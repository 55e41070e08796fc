"""Events as lines for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from publisher.cli.arguments.times import printed
from registry.errors import Invalid
from registry.events.envelope import attributes_of
from registry.events.filter import what_happened

STYLES = {
    "registered": "bold green",
    "created": "green",
    "added": "green",
    "reactivated": "green",
    "merged": "bold magenta",
    "claimed": "cyan",
    "released": "cyan",
    "logged": "blue",
    "deactivated": "yellow",
    "removed": "yellow",
    "deleted": "red",
    "truncated": "bold red",
    "heartbeat": "dim",
    "rejected": "red",
}


def line_of(payload: bytes, *, width: int | None = None) -> Text:
    """The line of an event as it arrived; of one that cannot be read, why."""
    try:
        return event_line(attributes_of(payload), width=width)
    except Invalid as error:
        return Text(f"{error} ({len(payload):,} bytes)", "bold red")


def event_line(envelope: dict[str, Any], after_ms: float | None = None, *, width: int | None = None) -> Text:
    """One event in one line: when it occurred, what happened, to what.

    Where the milliseconds since its commit are known, they stand in place of date and zone: the reader was there. In a
    `width` too narrow for all of it the blanks between columns go first, then date and zone, then the time: what is
    left is what happened, and to what.
    """
    entity, action, _ = what_happened(envelope)
    action = action or "?"
    time = printed(datetime.fromisoformat(envelope["time"]), "milliseconds")
    when = f"{time} " if after_ms is None else f"{time[11:23]} {after_ms:6.1f} ms "
    what, detail = f"{entity}.{action}", _detail(entity, action, envelope.get("data") or {})
    line = Text()
    for began, happened in (
        (when, what.ljust(27)),
        (when, f"{what} "),
        (f"{time[11:19]} ", f"{what} "),
        ("", f"{what} "),
    ):
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(began, "dim").append(happened, STYLES.get(action, "default")).append(detail)
        if width is None or line.cell_len <= width:
            break
    return line


def _detail(entity: str, action: str, data: dict[str, Any]) -> str:
    """What a reader wants to know of the change."""
    match entity, action:
        case "worktree", "git_state_updated":
            state = f"{data.get('status')} ±{data.get('uncommitted_files_count')}"
            return f"{_worktree(data)} {state} ↑{data.get('ahead_of_trunk')} ↓{data.get('behind_trunk')}"
        case "worktree", "claimed":
            return f"{_worktree(data)} by {data.get('agent_id')}"
        case "worktree", "merged":
            return f"{_worktree(data)} by {data.get('merged_by')}"
        case "worktree", _:
            return _worktree(data)
        case "activity", _:
            return f"{data.get('agent_id')} {data.get('activity_type')} {data.get('file_path') or ''}"
        case "project", "updated":
            changed = data.get("changed")
            return f"{data.get('name')}: {', '.join(changed) if isinstance(changed, dict) else ''}"
        case _:
            return str(data.get("name") or data.get("table") or "")


def _worktree(data: dict[str, Any]) -> str:
    return f"{data.get('project_name')}/{data.get('name')}"
