"""Notifier: posts one line to a webhook when a worktree is claimed, merged, or left behind its trunk.

NATS_URL=nats://127.0.0.1:4222 python examples/notifier.py https://chat.example/hook

The receiver gets each event at least once, with its id as `Idempotency-Key`: a repetition is recognised by it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from urllib.request import Request, urlopen

from registry.client import Delivery, RegistryClient
from registry.errors import Invalid
from registry.events import Event
from registry.events.worktree import WorktreeClaimed, WorktreeGitStateUpdated, WorktreeMerged


async def main(webhook: str) -> None:
    """Notify until stopped. A receiver that is away gets what it missed when it is back."""

    async def notify(delivery: Delivery) -> None:
        try:
            event = delivery.event
        except Invalid:  # anybody may write to a stream: what is no event of ours is no matter of ours
            return
        if text := line(event):
            await asyncio.to_thread(post, webhook, str(event.envelope.id), text)  # when it raises: again later

    prefix = os.environ.get("IMI_PREFIX", "imi")
    async with RegistryClient.connect(os.environ["NATS_URL"], prefix=prefix, name="notifier") as client:
        await client.subscribe(notify, durable="notifier", entity="worktree")


def line(event: Event) -> str | None:
    """What people are told of an event; most are not worth a line."""
    match event.data:
        case WorktreeClaimed() as data:
            return f"{data.project_name}/{data.name}: {data.agent_id} works on it"
        case WorktreeMerged() as data:
            return f"{data.project_name}/{data.name}: merged by {data.merged_by}"
        case WorktreeGitStateUpdated() as data if data.changed.get("behind_trunk") == 0:
            return f"{data.project_name}/{data.name}: now {data.behind_trunk} behind its trunk"
    return None


def post(url: str, key: str, text: str) -> None:
    """Send one line as JSON; an answer that is an error raises."""
    headers = {"content-type": "application/json", "idempotency-key": key}
    request = Request(url, json.dumps({"text": text}).encode(), headers)  # noqa: S310  # the URL is the caller's own
    urlopen(request, timeout=10).close()  # noqa: S310  # the same


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
