"""The proof, on demand: `history verify` and `history audit`, each a process of its own with the least of priorities.

Both read everything that there is: within this process they would keep the relay from its work.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from publisher.settings import Settings
from registry.concurrency.tasks import end

KINDS = {
    "audit": "The stream beside the outbox: every message is read, and what is lost, doubled or reordered is named.",
    "verify": "The tables beside the events: projects, worktrees and types are built from the events, and compared.",
}
KEPT = 20
"""And those that run."""
PROGRAM = "import os, runpy; os.nice(15); runpy.run_module('publisher', run_name='__main__')"
"""imi-registry, behind everything else that wants the processor."""
MOST_SECONDS = 3600.0
ERROR_CHARACTERS = 500


@dataclass
class Run:
    """One proof."""

    kind: str
    who: str
    began_at: datetime
    ended_at: datetime | None = None
    found: dict[str, Any] | None = None
    """What it says; None while it runs, or when it failed."""
    problem: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None

    @property
    def seconds(self) -> float:
        """How long it took, or takes so far."""
        return ((self.ended_at or datetime.now(UTC)) - self.began_at).total_seconds()

    @property
    def is_clean(self) -> bool:
        """Whether it found nothing wrong."""
        if self.found is None:
            return False
        if self.kind == "verify":
            return not self.found["differences"]
        return not any(self.found[name]["count"] for name in ("lost", "doubled", "reordered"))


@dataclass
class Proofs:
    """The last ones of this process, newest first; one of a kind at a time."""

    settings: Settings
    runs: list[Run] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, kind: str, who: str) -> Run:
        """Begin one, unless one of its kind is running."""
        for run in self.runs:
            if run.kind == kind and run.is_running:
                return run
        run = Run(kind, who, datetime.now(UTC))
        self.runs = [run, *(one for at, one in enumerate(self.runs, 1) if at < KEPT or one.is_running)]
        task = asyncio.ensure_future(self._work(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def stop(self) -> None:
        """End those that run."""
        await end(list(self._tasks))

    async def _work(self, run: Run) -> None:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                run.found, run.problem = _read(*await self._said(run.kind))
        except TimeoutError:
            run.problem = f"it took more than {MOST_SECONDS:,.0f} s and was ended"
        except OSError as error:
            run.problem = f"it could not be started: {error.strerror or error}"
        finally:
            run.ended_at = datetime.now(UTC)

    async def _said(self, kind: str) -> tuple[bytes, bytes]:
        """What the process of a proof wrote, and what it complained of. Raises `OSError` when there can be none."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            "history",
            kind,
            "--json",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(self.settings),
            start_new_session=True,
        )
        try:
            return await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def _read(out: bytes, err: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        found = orjson.loads(out)
    except ValueError:
        lines = err.decode(errors="replace").strip().splitlines()
        return None, (lines[-1] if lines else "it said nothing")[:ERROR_CHARACTERS]
    return found, ""


def _environment(settings: Settings) -> dict[str, str]:
    """The settings of this process as variables: what was given as an argument is in no environment."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "NATS_URL"))}
    for name, value in settings.model_dump().items():
        if name == "http_token" or value is None or value == {}:
            continue
        plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        text = orjson.dumps(plain).decode() if isinstance(plain, dict) else str(plain)
        variables[f"IMI_{name.upper()}"] = text
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return variables | {"IMI_LOG_LEVEL": "error"}
