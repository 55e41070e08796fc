"""A large registry in which people wrote: descriptions, messages, activities, of words as frequent as in life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

import psycopg

from benchmarks.harness.population import WORDS, project_id, worktree_id

VERBS = "updated fixed added removed changed refactored renamed tested reviewed documented".split()  # noqa: SIM905  # a list of ten strings is no easier to read
VOCABULARY = 20_000
DRAWN = 1_000_003
BLOCK = 5_000
DAYS = 90.0
"""The activities are spread over so many, as retention leaves them."""


class Texts:
    """Words, drawn so that the most frequent one is each 27th and most are rare."""

    def __init__(self, seed: int) -> None:
        rng = Random(seed)
        known = [*VERBS, *WORDS]
        syllables = [f"{consonant}{vowel}" for consonant in "bcdfghjklmnprstvz" for vowel in "aeio"]
        words = set(known)
        while len(known) < VOCABULARY:
            word = "".join(rng.choices(syllables, k=rng.choice((2, 3, 3, 4))))
            if word not in words:
                words.add(word)
                known.append(word)
        self._drawn = [known[int(VOCABULARY * rng.random() ** 3)] for _ in range(DRAWN)]

    def words(self, place: int, count: int) -> list[str]:
        """Always the same ones at a place."""
        start = place * 7919 % (DRAWN - count)
        return self._drawn[start : start + count]


def load(conn: psycopg.Connection, texts: Texts, projects: int, worktrees: int, activities: int) -> None:
    """Fill an empty registry, without events: the indexes of the search are to be built afterwards."""
    now = datetime.now(UTC)
    names = ["-".join(texts.words(number, 2)) + f"-{number}" for number in range(projects)]
    conn.execute("SET session_replication_role = replica")
    _copy(
        conn,
        "projects (id, name, remote_origin, trunk_path, description)",
        (
            f"{project_id(number)}\t{name}\tgit@github.com:owner{number % 500}/{name}.git"
            f"\t/home/ada/code/{name}/trunk-main\t{' '.join(texts.words(number + 31, 8))}\n"
            for number, name in enumerate(names)
        ),
    )
    _copy(
        conn,
        "worktrees (id, project_id, type_id, name, branch_name, path, active, last_commit_message, last_sync_at)",
        (
            _worktree(texts, number, names, now - timedelta(days=DAYS * (1 - number / worktrees)))
            for number in range(worktrees)
        ),
    )
    _copy(
        conn,
        "agent_activities (agent_id, worktree_id, activity_type, description, file_path, created_at)",
        (
            _activity(
                texts, number, worktree_id(number % worktrees), now - timedelta(days=DAYS * (1 - number / activities))
            )
            for number in range(activities)
        ),
    )
    conn.execute("RESET session_replication_role")


def worktree_name(texts: Texts, number: int) -> str:
    """Name of the worktree `number`."""
    return "feat-" + "-".join(texts.words(number + 77, 2)) + f"-{number}"


def _worktree(texts: Texts, number: int, projects: list[str], time: datetime) -> str:
    name = worktree_name(texts, number)
    place = number % len(projects)
    return (
        f"{worktree_id(number)}\t{project_id(place)}\t1\t{name}\t{name.replace('-', '/', 1)}"
        f"\t/home/ada/code/{projects[place]}/{name}\t{'tf'[number % 10 > 0]}"
        f"\t{' '.join(texts.words(number + 555, 6))}\t{time.isoformat()}\n"
    )


def _activity(texts: Texts, number: int, worktree: object, time: datetime) -> str:
    *said, folder, file = texts.words(number + 123, 8)
    return (
        f"agent-{number % 1000}\t{worktree}\tmodified\t{' '.join(said)}\tsrc/{folder}/{file}.rs\t{time.isoformat()}\n"
    )


def _copy(conn: psycopg.Connection, target: str, lines: Iterator[str]) -> None:
    with conn.cursor().copy(f"COPY {target} FROM STDIN".encode()) as copy:
        while block := "".join(islice(lines, BLOCK)):
            copy.write(block)
