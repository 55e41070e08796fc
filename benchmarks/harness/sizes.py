"""How much is measured: the full run, and a quick one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows, seconds and rounds of all benchmarks. The defaults are the full run."""

    rounds: int = 5
    backlog: int = 200_000
    """Outbox rows that are drained in one round."""
    peer_backlog: int = 20_000
    """The same for peers in pure Python: their rate does not depend on it, and the slowest would take minutes."""
    latency_rates: tuple[int, ...] = (1, 100, 1000)
    """Commits per second."""
    latency_seconds: float = 6.0
    open_pages: int = 50
    writer_clients: tuple[int, ...] = (16, 64)
    writer_seconds: float = 4.0
    bulk_rows: int = 10_000
    cpu_clients: int = 4
    cpu_transactions: int = 200
    """Transactions of one side in one round; short ones, so that what else runs meets every side."""
    commands: int = 5_000
    command_clients: tuple[int, ...] = (16, 64)
    """Commands under way at once."""
    replayed: int = 300_000
    replay_rounds: int = 2
    snapshot_worktrees: tuple[int, ...] = (1_000, 10_000, 100_000)
    outbox_rows: tuple[int, ...] = (10_000, 1_000_000, 10_000_000)
    retained_events: int = 10_000_000
    """Outbox rows of which retention removes the oldest tenth."""
    growth_projects: tuple[int, ...] = (100, 10_000, 100_000)
    growth_backlog: int = 50_000
    subscribers: tuple[int, ...] = (1, 10, 100)
    gaps: tuple[int, ...] = (10, 1_000, 100_000)
    projects: int = 100_000
    worktrees: int = 1_000_000
    activities: int = 10_000_000
    query_calls: int = 500
    footprint_backlog: int = 300_000
    idle_seconds: float = 60.0
    idle_rounds: int = 3
    starts: int = 5
    capture_rows: int = 100_000
    capture_clients: int = 16
    capture_block: int = 1_000
    """Rows of a bulk transaction; each client has its own."""
    capture_rate: float = 1_000
    """Writes a second that every side is given."""
    capture_seconds: float = 10.0
    hot_rows: int = 100
    """So few that two writes of one row are often under way at once."""
    hot_seconds: float = 15.0
    full_speed_seconds: float = 5.0
    probe_seconds: float = 10.0
    halvings: int = 4
    """In the first round of a side; later ones are near what that found, and need two."""
    sustained_seconds: float = 60.0
    sustained_rounds: int = 3
    """Of those that take turns, for single rows; the rest is measured once."""


QUICK = Sizes(
    rounds=1,
    backlog=2_000,
    peer_backlog=500,
    latency_rates=(100,),
    latency_seconds=1.0,
    open_pages=4,
    writer_clients=(1, 4),
    writer_seconds=1.0,
    bulk_rows=500,
    cpu_clients=2,
    cpu_transactions=50,
    commands=100,
    command_clients=(4, 8),
    replayed=2_000,
    replay_rounds=1,
    snapshot_worktrees=(50, 200),
    outbox_rows=(1_000, 5_000),
    retained_events=5_000,
    growth_projects=(100, 500),
    growth_backlog=1_000,
    subscribers=(1, 2),
    gaps=(10, 200),
    projects=500,
    worktrees=2_000,
    activities=5_000,
    query_calls=20,
    footprint_backlog=5_000,
    idle_seconds=1.0,
    idle_rounds=2,
    starts=1,
    capture_rows=1_000,
    capture_clients=2,
    capture_block=100,
    capture_rate=100,
    capture_seconds=2.0,
    hot_rows=10,
    hot_seconds=1.0,
    full_speed_seconds=1.0,
    probe_seconds=1.0,
    halvings=1,
    sustained_seconds=1.0,
    sustained_rounds=2,
)
"""About a minute in all; its figures mean nothing."""
