"""Writes at a steady rate that wait for nobody: pgbench, whose log tells when each COMMIT was acknowledged.

Every written row has the token of its transaction in `last_commit_hash`, and in `ahead_of_trunk` its own count of
writes: what the judge compares the stream with.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from publisher.embedded.binaries import postgres_binaries

CLIENTS = 16
ONE_ROW = """
\\set n :n + 1
\\set number random(1, {rows})
UPDATE worktrees
SET ahead_of_trunk = ahead_of_trunk + 1, last_commit_hash = '{run}c' || :client_id::text || 'x' || :n::text
WHERE path = '/bench/feat-' || :number::text AND active;
"""
BULK = """
\\set n :n + 1
\\set first :client_id * {block} + 1
\\set last :first + {block} - 1
UPDATE worktrees
SET ahead_of_trunk = ahead_of_trunk + 1, last_commit_hash = '{run}c' || :client_id::text || 'x' || :n::text
WHERE path = ANY (SELECT '/bench/feat-' || number FROM generate_series(:first::int, :last::int) AS number) AND active;
"""
"""Each client has rows of its own: two that update the same ones would wait for each other."""

_runs = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """What is written: transactions of so many rows, at so many rows a second in all, for so long."""

    rows_per_second: float | None
    """None: as fast as it goes."""
    seconds: float
    table_rows: int
    rows_per_transaction: int = 1
    clients: int = CLIENTS

    def script(self, run: str) -> str:
        """pgbench's, with tokens of this run."""
        form = ONE_ROW if self.rows_per_transaction == 1 else BULK
        return form.format(run=run, rows=self.table_rows, block=self.rows_per_transaction)


@dataclass
class Written:
    """What was acknowledged."""

    run: str
    committed: dict[str, float] = field(default_factory=dict)
    """Token to the time of its acknowledgement, in seconds since the epoch."""
    is_whole: bool = True
    """False when it was given up: the last transactions may be missing here."""
    late: list[float] = field(default_factory=list)
    """Seconds that each transaction began behind its schedule, in the order of their ends."""

    @property
    def transactions_per_second(self) -> float:
        """From the first acknowledgement to the last; 0 when there are not two."""
        times = self.committed.values()
        span = max(times) - min(times) if times else 0.0
        return (len(times) - 1) / span if span else 0.0


class Writing:
    """A run of pgbench that is under way."""

    def __init__(self, run: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.run = run
        self._process = process
        self._log = log
        self._is_given_up = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def give_up(self) -> None:
        """End it early."""
        if not self.is_over:
            self._is_given_up = True
            self._process.terminate()

    async def finished(self) -> Written:
        """Wait for its end and read the log. Raises `RuntimeError` with pgbench's words when a client failed."""
        _, errors = await self._process.communicate()
        if self._is_given_up:
            return Written(self.run, is_whole=False)
        if self._process.returncode:
            raise RuntimeError(f"pgbench failed: {errors.decode().strip()}")
        return self._read()

    def _read(self) -> Written:
        """Lines `client transaction µs script epoch µs [µs late]`, of one client in the order it ran them."""
        written = Written(self.run)
        ended: list[tuple[float, float]] = []
        counts: dict[str, int] = {}
        for file in self._log.parent.glob(f"{self._log.name}.*"):
            for line in file.read_text().splitlines():
                client, _, _, _, seconds, microseconds, *late = line.split()
                counts[client] = counts.get(client, 0) + 1
                at = int(seconds) + int(microseconds) / 1e6
                written.committed[f"{self.run}c{client}x{counts[client]}"] = at
                ended.append((at, int(late[0]) / 1e6 if late else 0.0))
        written.late = [behind for _, behind in sorted(ended)]
        return written


@asynccontextmanager
async def writing(database_url: str, load: Load) -> AsyncIterator[Writing]:
    """pgbench with `load`, from its start; ended with the block."""
    run = f"r{next(_runs)}"
    with tempfile.TemporaryDirectory(prefix="imi-load-") as name:
        folder = Path(name)
        (folder / "script.sql").write_text(load.script(run))
        command = [str(postgres_binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared", "--jobs=1"]
        command += [f"--client={load.clients}", f"--time={max(round(load.seconds), 1)}", "--define=n=0", "--log"]
        command += [f"--log-prefix={folder / 'log'}", f"--file={folder / 'script.sql'}"]
        if load.rows_per_second is not None:
            command.append(f"--rate={load.rows_per_second / load.rows_per_transaction:.3f}")
        process = await asyncio.create_subprocess_exec(
            *command, database_url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        running = Writing(run, process, folder / "log")
        try:
            yield running
        finally:
            running.give_up()
            await process.wait()
