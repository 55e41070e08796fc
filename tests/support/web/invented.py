"""An invented registry with life in it, for pictures: agents work, commands come, a subscription stumbles."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from uuid import UUID, uuid4

import psycopg

from registry.client import Delivery, RegistryClient, Sending
from registry.concurrency.tasks import end
from registry.errors import RegistryError
from registry.subjects import Names

OWNER = "33god"
PROJECTS = ("flume", "hookd", "candystore", "bloodbank", "imi")
WORK = {
    "feat-search": ("feat", "feat/search"),
    "feat-user-auth": ("feat", "feat/user-auth"),
    "fix-retry-storm": ("fix", "fix/retry-storm"),
    "pr-142": ("review", "pr-review/142"),
    "devops-runners": ("devops", "devops/runners"),
}
AGENTS = ("ada", "brian", "grace", "edsger", "linus", "margaret")
COMMITS = ("Back off twice as long", "Index titles", "Add the login form", "Split the parser", "Name the field")
FILES = ("src/search/index.py", "src/auth/login.py", "docs/retry.md", "tests/test_parser.py")
LONG = "feat-a-name-that-somebody-chose-on-a-day-with-nothing-else-to-do-and-never-shortened"
"""There is one in every registry."""
SEED = 20
CHANGES_A_SECOND = 5.0
SWELL_SECONDS = 40.0
"""The rate rises and falls, as that of people does."""


class Invented:
    """What is in it, by id, and how it goes on."""

    def __init__(self, database_url: str, nats_url: str) -> None:
        self._database_url = database_url
        self._nats_url = nats_url
        self._random = random.Random(SEED)
        self.projects: dict[str, UUID] = {}
        self.worktrees: list[UUID] = []

    def fill(self) -> None:
        """Projects and worktrees, some of them in the hands of agents."""
        with psycopg.connect(self._database_url, autocommit=True) as conn:
            for name in PROJECTS:
                self.projects[name] = self._id(
                    conn,
                    "SELECT register_project(%s, %s, 'main', %s)",
                    *(name, f"git@github.com:{OWNER}/{name}.git", f"/srv/code/{name}/trunk-main"),
                )
                for worktree, (kind, branch) in WORK.items():
                    if self._random.random() < 0.7:
                        self._add(conn, name, worktree, kind, branch)
            self._add(conn, "imi", LONG, "feat", LONG.replace("-", "/", 1))

    async def live(self) -> None:
        """Go on until cancelled: somebody works all the time."""
        async with await psycopg.AsyncConnection.connect(self._database_url, autocommit=True) as conn:
            for number in count():
                agent = self._random.choice(AGENTS)
                await conn.execute("SELECT set_config('imi.actor', %s, false)", [agent])
                await self._work(conn, agent, number)
                swell = 1 + 0.6 * math.sin(2 * math.pi * number / (CHANGES_A_SECOND * SWELL_SECONDS))
                await asyncio.sleep(self._random.expovariate(CHANGES_A_SECOND * swell))

    async def _work(self, conn: psycopg.AsyncConnection, agent: str, number: int) -> None:
        chance, worktree = self._random, self.worktrees[number * 7 % len(self.worktrees)]
        if number % 6 == 5:
            what = chance.choice(("modified", "committed", "pushed"))
            values = [agent, worktree, what, chance.choice(COMMITS), chance.choice(FILES)]
            await conn.execute("SELECT log_activity(%s, %s, %s, %s, %s)", values)
            return
        dirty = chance.choice((0, 0, 1, 2, 5, 7))
        values = [worktree, dirty > 0, dirty, chance.choice((0, 1, 3, 5)), chance.choice((0, 0, 1, 2))]
        commit = [f"{chance.getrandbits(160):040x}", chance.choice(COMMITS)]
        await conn.execute("SELECT update_worktree_git_state(%s, %s, %s, %s, %s, %s, %s)", values + commit)

    async def command(self) -> None:
        """Commands: some are carried out, one is refused, one is none and becomes a dead letter."""
        async with RegistryClient.connect(self._nats_url, name="planner") as client:
            sending = Sending(actor="planner", correlation_id=uuid4())
            for project in ("flume", "hookd"):
                await client.register_worktree(
                    type_name="fix",
                    name="fix-login",
                    branch_name="fix/login",
                    path=f"/srv/code/{project}/fix-login",
                    project_id=self.projects[project],
                    agent_id="ada",
                    sending=sending,
                )
            with suppress(RegistryError):  # it is held by somebody else
                await client.claim_worktree(path="/srv/code/flume/fix-login", agent_id="brian", sending=sending)
            subject = Names("imi").commands.command_subject("project.register")
            await client._client.jetstream().publish(subject, b'{"specversion": "1.0", "data": {"name": "spout"')

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Subscriptions for the block: one keeps up, one cannot handle an event and puts it aside."""

        async def index(_: Delivery) -> None:
            return

        async def notify(delivery: Delivery) -> None:
            if delivery.sequence == 1:
                raise ValueError("no channel is configured for project flume")

        async with RegistryClient.connect(self._nats_url, name="followers") as client:
            following = [
                client.subscribe(index, durable="search-index", from_start=True),
                client.subscribe(notify, durable="chat-notifier", entity="project", from_start=True, max_attempts=1),
            ]
            tasks = [asyncio.ensure_future(one) for one in following]
            try:
                yield
            finally:
                await end(tasks)

    def _add(self, conn: psycopg.Connection, project: str, name: str, kind: str, branch: str) -> None:
        self.worktrees.append(
            self._id(
                conn,
                "SELECT register_worktree(%s, %s, %s, %s, %s, %s)",
                *(self.projects[project], kind, name, branch, f"/srv/code/{project}/{name}"),
                self._random.choice(AGENTS),
            )
        )

    @staticmethod
    def _id(conn: psycopg.Connection, query: str, *values: object) -> UUID:
        (found,) = conn.execute(query.encode(), values).fetchone() or (None,)
        assert isinstance(found, UUID)
        return found
