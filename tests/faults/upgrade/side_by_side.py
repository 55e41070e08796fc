"""Two versions of the code on one registry, with everybody at work: services, components, and a durable subscriber."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.faults.suite import history
from tests.faults.suite.checker import judge
from tests.faults.suite.history import ANSWERED, COMMANDED, HANDLED, STREAM, WRITTEN
from tests.faults.suite.run import collected
from tests.faults.suite.writers import COMMAND_ROWS, Setting, Writers
from tests.faults.upgrade.versions import ROOT, serve, variables
from tests.support.relay_process import ServiceProcess
from tests.support.world import World

SETTINGS = [*[Setting(is_durable=True, pause_seconds=0.02)] * 3, Setting(is_durable=False, pause_seconds=0.02)]
PROGRESS = {WRITTEN: 20, COMMANDED: 6, ANSWERED: 6, HANDLED: 20}
"""So many more lines of each kind say that everybody is served."""


class SideBySide:
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

    def subscribe(self, code: Path) -> None:
        """Let the durable subscription be handled by a client of that code, whoever handled it before."""
        if self._subscriber is not None:
            self._subscriber.kill()
        self._subscriber = self._client(code, "tests.faults.suite.subscriber")

    def component(self, code: Path, row: str) -> ServiceProcess:
        """A client of that code that numbers a row by commands, and asks for it."""
        return self._client(code, "tests.faults.upgrade.component", row)

    async def served(self, seconds: float = 60) -> None:
        """Return when everybody has got on: writers, commands and queries of both versions, and the subscriber."""
        before = now = self._done()
        try:
            async with asyncio.timeout(seconds):
                while any(now[of] < then + PROGRESS[of[0]] for of, then in before.items()):
                    await asyncio.sleep(0.2)
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
                if line.get("outcome") not in {"unknown", "rejected", "rolled back"}:
                    found[name, line["entry"][0] if name in {COMMANDED, ANSWERED} else ""] += 1
        return found

    def _client(self, code: Path, module: str, *arguments: str) -> ServiceProcess:
        command = [sys.executable, "-m", module, str(self.folder), *arguments]
        process = ServiceProcess(command, variables(self.world, code))
        self._started.append(process)
        return process


@asynccontextmanager
async def attended(there: SideBySide) -> AsyncIterator[None]:
    """Everybody at work for the block; then it is judged what they were told."""
    load = Writers(there.world.database, None, there.folder)
    components = [there.component(code, row) for code, row in zip((there.old, there.new), COMMAND_ROWS, strict=True)]
    with closing(load):
        async with asyncio.TaskGroup() as tasks:
            for number, setting in enumerate(SETTINGS):
                tasks.create_task(load.write_sql(random.Random(number), setting))
            try:
                yield
            finally:
                load.stop()
    for component in components:
        component.stop()
        assert await component.exit_code() == 0, component.log()
    await assert_promises_kept(there)


async def assert_promises_kept(there: SideBySide) -> None:
    """Nothing lost, doubled, or out of order; of each command one outcome, of each question an answer that was true."""
    world, folder = there.world, there.folder
    await collected(world.database, world.nats_url, world.prefix, folder)
    verdict = judge(folder)
    assert verdict.is_clean, verdict

    assert {*history.entries(folder, ANSWERED)} <= {*history.entries(folder, STREAM)}
    applied = [line for line in history.read(folder, COMMANDED) if line["outcome"] == "applied"]
    for answer in history.read(folder, ANSWERED):
        row, number, _ = answer["entry"]
        known = (line["entry"] for line in applied if line["answered_at"] < answer["asked_at"])
        assert number >= max((entry[1] for entry in known if entry[0] == row), default=0)
