"""What may be done now: a job that shares a key with an earlier one waits for it, others do not."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Generic, TypeVar

from registry.concurrency.fair import FairQueue

T = TypeVar("T")


class Job(Generic[T]):
    """An item on its way, and what it is about."""

    def __init__(self, item: T, keys: Set[str], sender: str = "") -> None:
        self.item = item
        self.keys = keys
        self.sender = sender
        """Whose it is: senders are served in turn."""
        self.attempts = 0
        """Tries that failed and that count against it; how it is counted is for whoever carries it out."""
        self.tries = 0
        self._waits_for = 0
        self._followers: list[Job[T]] = []


class Lanes(Generic[T]):
    """Jobs that share a key leave one after the other, each when it is done; of others, the senders take turns."""

    def __init__(self) -> None:
        self._last: dict[str, Job[T]] = {}
        self._ready: FairQueue[Job[T]] = FairQueue()

    def add(self, job: Job[T]) -> None:
        """Take a job in, behind all that were added before."""
        for key in job.keys:
            earlier = self._last.get(key)
            if earlier is not None:
                earlier._followers.append(job)
                job._waits_for += 1
            self._last[key] = job
        if job._waits_for == 0:
            self._ready.put(job, job.sender)

    async def next(self) -> Job[T]:
        """Wait for a job that waits for no other."""
        return await self._ready.get()

    async def next_few(self, most: int) -> list[Job[T]]:
        """Wait for a job that waits for no other; returns it with those that are there as well, `most` in all."""
        jobs = [await self._ready.get()]
        while len(jobs) < most and not self._ready.empty():
            jobs.append(self._ready.get_nowait())
        return jobs

    def again(self, job: Job[T], delay_seconds: float) -> None:
        """Hand out a job once more, after a while; those behind it go on waiting."""
        asyncio.get_running_loop().call_later(delay_seconds, self._ready.put, job, job.sender)

    def done(self, job: Job[T]) -> None:
        """Let those go on that waited for this job alone."""
        for key in job.keys:
            if self._last[key] is job:
                del self._last[key]
        followers, job._followers = job._followers, []  # else who keeps this job keeps all that ever come behind it
        for follower in followers:
            follower._waits_for -= 1
            if follower._waits_for == 0:
                self._ready.put(follower, follower.sender)
