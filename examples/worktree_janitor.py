"""Worktree janitor: removes the folder of a worktree that was merged or removed, unless it holds work not committed.

NATS_URL=nats://127.0.0.1:4222 python examples/worktree_janitor.py ~/code

One runs on each host of the registry, with IMI_HOST, its name there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from registry.client import Delivery, RegistryClient
from registry.errors import Invalid, NotFound
from registry.events.worktree import WorktreeMerged, WorktreeRemoved


async def main(root: Path) -> None:
    """Clean up below `root` until stopped; what happened while this was not running is made up for."""

    async def clean(delivery: Delivery) -> None:
        try:
            data = delivery.event.data
        except Invalid:  # anybody may write to a stream: what is no event of ours is no matter of ours
            return
        if isinstance(data, WorktreeMerged | WorktreeRemoved) and is_linked(data.path, root):
            try:
                await client.queries.worktree_by_path(data.path)  # registered anew since: the event is an old one
            except NotFound:
                print(f"{data.project_name}/{data.name}: {await removed(data.path)}", flush=True)

    prefix, host = os.environ.get("IMI_PREFIX", "imi"), os.environ.get("IMI_HOST")
    name = f"janitor-{host}" if host else "janitor"
    async with RegistryClient.connect(os.environ["NATS_URL"], prefix=prefix, name=name, host=host) as client:
        await client.subscribe(clean, durable=name, entity="worktree", host=host, from_start=True)


def is_linked(path: str, root: Path) -> bool:
    """Whether there is a linked work tree below `root`; a clone, whose `.git` is a folder, is none."""
    folder = Path(path).resolve()
    return folder.is_relative_to(root) and (folder / ".git").is_file()


async def removed(path: str) -> str:
    """Remove a work tree, and say what became of it. Without --force git keeps one with changes or new files."""
    command = ["git", "-C", path, "worktree", "remove", "--", path]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    return "removed" if process.returncode == 0 else f"kept: {errors.decode(errors='replace').strip()}"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).resolve()))
