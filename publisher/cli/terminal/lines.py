"""Events as lines for people."""

from __future__ import annotations

from typing import Any

from rich.text import Text

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
    "rejected": "red",
}


def event_line(envelope: dict[str, Any], after_ms: float | None = None) -> Text:
    """One event in one line: time, milliseconds since its commit where known, what happened, to what."""
    _, entity, action, *_ = f"{envelope['type']}...".split(".")
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{envelope['time'][11:23]} ", "dim")
    if after_ms is not None:
        line.append(f"{after_ms:6.1f} ms ", "dim")
    line.append(f"{entity}.{action}".ljust(27), STYLES.get(action, "default"))
    line.append(_detail(entity, action, envelope.get("data") or {}))
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
            return f"{data.get('name')}: {', '.join(data.get('changed', {}))}"
        case _:
            return str(data.get("name") or data.get("table") or "")


def _worktree(data: dict[str, Any]) -> str:
    return f"{data.get('project_name')}/{data.get('name')}"
