"""The code of an earlier commit beside that of today: each takes over from the other, and its clients from its clients.

Writers, components that send commands and ask queries, of either version, and a durable subscriber work meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from tests.faults.suite.collecting import collected

from registry.database import migrate
from tests.faults.suite import history, writers
from tests.faults.suite.checker import judge
from tests.faults.suite.history import ANSWERED, COMMANDED, HANDLED, WRITTEN
from tests.faults.suite.writers import COMMAND_ROWS, Setting, Writers
from tests.support.nats.reading import messages
from tests.support.relay_process import ServiceProcess
from tests.support.versions import ROOT, earlier, migrated, serve, variables
from tests.support.world import World

EARLIER, KNOWS = "c037611360960cb0057166b3ce91dd2ca0066775", 18
"""Of 2026-11-28, and the newest migration that it knows."""
LATER = [migration for migration in migrate.load() if migration.version > KNOWS]
SETTINGS = [*[Setting(is_durable=True, pause_seconds=0.02)] * 3, Setting(is_durable=False, pause_seconds=0.02)]
PROGRESS = {WRITTEN: 20, COMMANDED: 6, ANSWERED: 6, HANDLED: 20}
"""So many more lines of each kind say that everybody is served."""


class Installation:
    """Processes of two versions on one registry; what it starts is ended with it."""

    def __init__(self, world: World, old: Path, folder: Path) -> None:
        self.world, self.old, self.new, self.folder = world, old, ROOT, folder
        self._started: list[ServiceProcess] = []
        self._subscriber: ServiceProcess | None = None

    async def start(self, code: Path) -> ServiceProcess:
        """A service of that code, which leads or stands by."""
        process = serve(self.world, code)
        self._started.append(process)
        await process.ready()
        return process

    async def stop(self, process: ServiceProcess) -> None:
        """End one in order."""
        process.stop()
        assert await process.exit_code() == 0, process.log()

    async def subscribe(self, code: Path) -> None:
        """Let the durable subscription be handled by a client of that code, whoever handled it before."""
        if self._subscriber is not None:
            self._subscriber.kill()
        self._subscriber = self._client(code, "subscriber")

    def component(self, code: Path, row: str) -> ServiceProcess:
        """A client of that code that numbers a row by commands, and asks for it."""
        return self._client(code, "component", row)

    async def served(self, seconds: float = 60) -> None:
        """Return when everybody has got on: writers, commands and queries of both versions, and the subscriber."""
        before = now = self._done()
        try:
            async with asyncio.timeout(seconds):
                while any(now[of] < then + PROGRESS[of[0]] for of, then in before.items()):
                    await asyncio.sleep(0.1)
                    now = self._done()
        except TimeoutError:
            raise AssertionError(f"within {seconds:g} s from {before} to {now}") from None

    def close(self) -> None:
        """End all of it."""
        for process in self._started:
            process.close()

    def _done(self) -> Counter[tuple[str, str]]:
        """Lines of each file of the history, of commands and answers those of each row."""
        found = Counter({(name, row): 0 for name in (COMMANDED, ANSWERED) for row in COMMAND_ROWS})
        found.update({(WRITTEN, ""): 0, (HANDLED, ""): 0})
        for name in PROGRESS:
            for line in history.read(self.folder, name):
                if line.get("outcome") not in {"unknown", "rolled back"}:
                    found[name, line["entry"][0] if name in {COMMANDED, ANSWERED} else ""] += 1
        return found

    def _client(self, code: Path, kind: str, *arguments: str) -> ServiceProcess:
        command = [sys.executable, "-m", f"tests.faults.suite.{kind}", str(self.folder), *arguments]
        process = ServiceProcess(command, variables(self.world, code))
        self._started.append(process)
        return process


@pytest.fixture
async def there(world: World, empty_database: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """One on a database as the earlier code made it."""
    folder = tmp_path / "history"
    folder.mkdir()
    found = Installation(world.at(database=empty_database), earlier(EARLIER, KNOWS, tmp_path / "old"), folder)
    await migrated(found.world, found.old, "up")
    with psycopg.connect(empty_database) as conn:
        writers.prepare(conn)
    try:
        yield found
    finally:
        found.close()


@asynccontextmanager
async def attended(there: Installation) -> AsyncIterator[None]:
    """Everybody at work for the block; then it is judged what they were told."""
    load = Writers(there.world.database, None, there.folder)
    components = [there.component(code, row) for code, row in zip((there.old, there.new), COMMAND_ROWS, strict=True)]
    async with asyncio.TaskGroup() as tasks:
        for number, setting in enumerate(SETTINGS):
            tasks.create_task(load.write_sql(random.Random(number), setting))
        try:
            yield
        finally:
            load.stop()
    load.close()
    for component in components:
        component.stop()
        assert await component.exit_code() == 0, component.log()
    await assert_promises_kept(there)


async def assert_promises_kept(there: Installation) -> None:
    """Nothing lost, doubled, or out of order; of each command one outcome, of each question an answer that was true."""
    world, folder = there.world, there.folder
    await collected(world.database, world.nats_url, world.prefix, folder)
    verdict = judge(folder)
    assert verdict.is_clean, verdict

    events = [json.loads(message.data) async for message in messages(world.nats, world.stream)]
    outcomes = [event for event in events if event["type"].startswith("imi.command.")]
    assert {event["type"] for event in outcomes} == {"imi.command.applied.v1"}
    assert max(Counter(event["data"]["command_id"] for event in outcomes).values()) == 1
    sent = Counter(line["outcome"] for line in history.read(folder, COMMANDED))
    assert sent["applied"] <= len(outcomes) <= sent.total()

    committed = {*history.entries(folder, history.STREAM)}
    for row in COMMAND_ROWS:
        answers = [entry for entry in history.entries(folder, ANSWERED) if entry.row == row]
        assert {*answers} <= committed
        assert answers == sorted(answers, key=lambda entry: entry.number)


async def test_an_earlier_version_is_replaced_process_by_process(there: Installation) -> None:
    first, second = await there.start(there.old), await there.start(there.old)
    await there.subscribe(there.old)
    async with attended(there):
        await there.served()

        # when: migrated, an old one comes back, and each is replaced
        told = await migrated(there.world, there.new, "up")
        assert [name for name in (one.name for one in LATER) if f"applied {name}" not in told] == []
        first.kill()
        first = await there.start(there.old)
        await there.served()
        await there.stop(second)
        second = await there.start(there.new)
        await there.stop(first)
        await there.subscribe(there.new)
        await there.start(there.new)
        await there.served()

        # then
        assert await migrated(there.world, there.new, "up", "--afterwards") == "nothing to apply\n"


@pytest.mark.long
async def test_there_is_a_way_back_from_each_step(there: Installation) -> None:
    newest = LATER[-1].name
    first, second = await there.start(there.old), await there.start(there.old)
    await there.subscribe(there.old)
    async with attended(there):
        await there.served()
        await migrated(there.world, there.new, "up")
        await there.served()
        for is_killed in (False, True):
            # an old one takes over from an old one, a new one from that, an old one from that, and so on
            for code in (there.old, there.new, there.old, there.new, there.old):
                if is_killed:
                    first.kill()
                else:
                    await there.stop(first)
                first, second = second, await there.start(code)
                await there.subscribe(code)
                await there.served()

        # the schema goes back, too
        await there.stop(first)
        first = await there.start(there.old)
        told = await migrated(there.world, there.new, "down", "--to", f"{KNOWS:03}")
        assert newest in told
        await there.served()
        await there.stop(first)
        first = await there.start(there.old)
        await there.stop(second)
        await there.subscribe(there.old)
        await there.served()

        # a new one is refused by it, with what is missing
        refused = serve(there.world, there.new)
        try:
            assert await refused.exit_code() == 1
            assert newest in refused.log()[-1]["event"]
        finally:
            refused.close()

        # and it goes up again
        await migrated(there.world, there.new, "up")
        second = await there.start(there.new)
        await there.stop(first)
        await there.subscribe(there.new)
        await there.served()
