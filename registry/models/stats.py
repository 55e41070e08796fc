"""Counts of the whole registry."""

from __future__ import annotations

from registry.models.row import Row


class RegistryStats(Row):
    """Counts, as `get_registry_stats` returns them."""

    total_projects: int
    """Projects, inactive ones too."""
    active_projects: int
    """Projects that are active."""
    total_worktrees: int
    """Worktrees, inactive ones too."""
    active_worktrees: int
    """Worktrees that are active."""
    in_flight_worktrees: int
    """Active worktrees with uncommitted or unmerged work."""
    total_activities: int
    """Entries of the audit log."""
    activities_last_24h: int
    """Those of the last 24 hours."""
