"""A snapshot: projects, worktrees and types as of one position of the event history; the events behind it follow.

The publisher reads all tables in one database snapshot, together with what is published and what is visible there; so
state and position belong together exactly (docs/adr/0006-history.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import nats.errors
import orjson
from nats.aio.client import Client

from registry.broker.connection import from_nats
from registry.errors import Unavailable
from registry.history.pages import raise_error_of
from registry.history.state import State
from registry.models import Project, Worktree, WorktreeType
from registry.position import Position
from registry.profiles.profile import Profile

CHUNK_TIMEOUT_SECONDS = 30.0
PROJECT, WORKTREE, WORKTREE_TYPE, END = b"p", b"w", b"t", b"."
"""What the lines of a snapshot behind the first one begin with."""


@dataclass
class Snapshot(State):
    """The state at one position. `replay(…, After(snapshot.position))` gives the events behind it."""

    position: Position = field(default_factory=lambda: Position(0))

    def put_line(self, line: bytes) -> None:
        """Take one row as the publisher sends it."""
        kind, row = line[:1], line[1:]
        if kind == PROJECT:
            self.put_project(Project.model_validate_json(row))
        elif kind == WORKTREE:
            self.put_worktree(Worktree.model_validate_json(row))
        else:
            self.put_type(WorktreeType.model_validate_json(row))


def snapshot_subject(profile: Profile) -> str:
    """Where the publisher answers with a snapshot: chunks of lines, each to be confirmed by an empty answer."""
    return f"{profile.requests}.snapshot"


async def take_snapshot(client: Client, profile: Profile) -> Snapshot:
    """The state as of now. Raises `Unavailable` when no publisher answers or it stops in the middle."""
    async with aclosing(_lines(client, snapshot_subject(profile))) as lines:
        snapshot = Snapshot(position=Position.parse(orjson.loads(await anext(lines))["position"]))
        async for line in lines:
            snapshot.put_line(line)
        return snapshot


async def _lines(client: Client, subject: str) -> AsyncGenerator[bytes, None]:
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        await client.publish(subject, reply=inbox)
        rest = b""
        while True:
            message = await subscription.next_msg(timeout=CHUNK_TIMEOUT_SECONDS)
            headers = message.headers or {}
            if headers.get("Status") == "503":
                raise Unavailable(f"no publisher answers on {subject}: start imi-registry up or serve")
            raise_error_of(headers)
            if message.reply:
                await message.respond(b"")
            *lines, rest = (rest + message.data).split(b"\n")
            for line in lines:
                if line == END:
                    return
                yield line
    except (TimeoutError, nats.errors.Error) as error:
        raise from_nats(error, "cannot take a snapshot") from error
    finally:
        await subscription.unsubscribe()
