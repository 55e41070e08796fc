"""What a person decides about an import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """What to do with what is not well, and whose the paths are."""

    create_types: bool = False
    """Make worktree types that are used and stand nowhere."""
    leave_out: bool = False
    """Import the rest when there are problems."""
    dry_run: bool = False
    """Do everything, and take it back."""
    host: str | None = None
    """Name of the host that all paths are of; None: the default host."""
    machine: str | None = None
    """What tells that host from others of the same name."""
