"""Phantoms in tests: messages that are marked as events of a database which there is not any more."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson

from publisher.doctor import examine
from publisher.doctor.findings import Finding
from tests.support.world import World

ID = "0f6e1f0c-5a59-4f08-8f5c-0f1f6a1e2b3c"
OF_A_TYPE = {"type": "imi.worktree_type.updated.v1", "subject": "worktree_type"}


async def publish(world: World, *told: dict[str, Any]) -> None:
    """Messages that are marked as events of ours, and tell of a project that there is not, unless they tell of else."""
    for attributes in told:
        event = {"id": str(uuid4()), "type": "imi.project.updated.v1", "subject": f"project/{ID}"}
        event |= {"time": "2026-01-01T00:00:00Z", "data": {"name": "p"}, **attributes}
        headers = {"Imi-Outbox-Id": "999999999", "Nats-Msg-Id": str(uuid4())}
        headers |= {"Imi-Source": world.profile.source} if world.profile.is_shared else {}
        await world.nats.jetstream().publish(world.foreign_subject, orjson.dumps(event), headers=headers)


async def about_phantoms(world: World) -> Finding:
    """What doctor says of them."""
    (found,) = [one for one in await examine(world.settings()) if "this database does not" in one.text]
    return found
