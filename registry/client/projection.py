"""A local copy of the registry that keeps itself up to date: a snapshot, and the events behind it applied to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from nats.aio.client import Client

from registry.arguments import checked_arguments
from registry.client.replay import replay
from registry.client.snapshot import take_snapshot
from registry.concurrency.backoff import Backoff
from registry.concurrency.outage import Outage
from registry.concurrency.tasks import end
from registry.errors import Conflict, NotFound, Unavailable
from registry.history.snapshot import Snapshot
from registry.history.state import DataElsewhere
from registry.models import Project, Worktree, WorktreeType
from registry.position import After, Position
from registry.profiles.profile import Profile


class Projection:
    """Projects, worktrees and types by id, as of the last event seen. Open it with `projection`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._state = snapshot
        self._moved = asyncio.Condition()
        self._passed = 0
        """Sequence up to which the stream is looked through: what it holds is in it, or is nothing to it."""
        self._renewed_after = 0
        """Sequence of the last event for which a new snapshot was taken."""
        self._outage = Outage("projection")

    @property
    def projects(self) -> dict[UUID, Project]:
        """Every project, by id; not to be changed."""
        return self._state.projects

    @property
    def worktrees(self) -> dict[UUID, Worktree]:
        """Every worktree, by id; not to be changed."""
        return self._state.worktrees

    @property
    def types(self) -> dict[int, WorktreeType]:
        """Every worktree type, by id; not to be changed."""
        return self._state.types

    @property
    def position(self) -> Position:
        """Of the last event that is in it."""
        return self._state.position

    @checked_arguments
    async def reached(self, sequence: int) -> None:
        """Wait until the event with this sequence is in it, as it may be since the snapshot that it began with."""
        async with self._moved:
            await self._moved.wait_for(lambda: max(self.position.sequence, self._passed) >= sequence)

    @asynccontextmanager
    async def following(self, client: Client, profile: Profile) -> AsyncIterator[None]:
        """Be kept up to date for the block."""
        try:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(self._follow(client, profile))
                try:
                    yield
                finally:
                    await end([task])
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # what the block raised is not to be seen as a group

    async def _follow(self, client: Client, profile: Profile) -> None:
        """Apply events until cancelled; begin from a new snapshot whenever the events do not lead on from here."""
        retry = Backoff()
        while True:
            try:
                await self._apply(client, profile)
            except Conflict as error:
                if not isinstance(error, DataElsewhere):
                    self._renewed_after = 0  # of another stream, perhaps
                    await retry.sleep()  # a snapshot may be ahead of the stream, as long as that has lost its end
                self._outage.failed(error, "new snapshot")
                await self._renew(client, profile)
            except (Unavailable, NotFound) as error:
                self._outage.failed(error)
                await retry.sleep()

    async def _apply(self, client: Client, profile: Profile) -> None:
        async with replay(client, profile, After(self.position), follow=True, passed=self._pass) as events:
            async for event in events:
                try:
                    self._state.apply(event.payload)
                except DataElsewhere:
                    # What was committed before it came is in a snapshot taken since. Without that a message of anybody,
                    # which no snapshot is ever behind, would be met again and again.
                    if event.sequence > self._renewed_after:
                        self._renewed_after = event.sequence
                        raise
                await self._set(self._state, event.position)

    async def _pass(self, sequence: int) -> None:
        self._passed = max(self._passed, sequence)
        async with self._moved:
            self._moved.notify_all()

    async def _renew(self, client: Client, profile: Profile) -> None:
        retry = Backoff()
        while True:
            try:
                snapshot = await take_snapshot(client, profile)
                return await self._set(snapshot, snapshot.position)
            except Unavailable as error:
                self._outage.failed(error)
                await retry.sleep()

    async def _set(self, state: Snapshot, position: Position) -> None:
        if state is not self._state:  # of another stream, perhaps
            self._passed = 0
        self._state = state
        self._state.position = position
        self._outage.over()
        async with self._moved:
            self._moved.notify_all()


@asynccontextmanager
async def projection(client: Client, profile: Profile) -> AsyncIterator[Projection]:
    """A projection that is kept up to date for the block. Raises `Unavailable` when no publisher answers now."""
    kept = Projection(await take_snapshot(client, profile))
    async with kept.following(client, profile):
        yield kept
