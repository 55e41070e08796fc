"""Dashboard feed: keeps a JSON file with what is in flight, for any web server to hand out. No database, no polling.

NATS_URL=nats://127.0.0.1:4222 python examples/dashboard_feed.py inflight.json
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from registry.client import RegistryClient
from registry.client.projection import Projection


async def main(target: Path) -> None:
    """Write `target` now and after each change, until stopped. It is whole whenever somebody reads it."""
    prefix = os.environ.get("IMI_PREFIX", "imi")
    async with (
        RegistryClient.connect(os.environ["NATS_URL"], prefix=prefix, name="dashboard") as client,
        client.projection() as registry,
    ):
        while True:
            shown = registry.position.sequence
            unfinished = target.with_suffix(".new")
            unfinished.write_text(json.dumps({"sequence": shown, "worktrees": inflight(registry)}, indent=2))
            unfinished.replace(target)
            await registry.reached(shown + 1)


def inflight(registry: Projection) -> list[dict[str, Any]]:
    """Active worktrees that are not level with their trunk, by project and name."""
    found = [
        {
            "project": registry.projects[worktree.project_id].name,
            "worktree": worktree.name,
            "agent": worktree.agent_id,
            "uncommitted": worktree.uncommitted_files_count,
            "ahead": worktree.ahead_of_trunk,
            "behind": worktree.behind_trunk,
        }
        for worktree in registry.worktrees.values()
        if worktree.active and not worktree.merged_at
        if worktree.has_uncommitted_changes or worktree.ahead_of_trunk or worktree.behind_trunk
        if worktree.project_id in registry.projects  # a TRUNCATE is told table by table
    ]
    return sorted(found, key=lambda row: (row["project"], row["worktree"]))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
