"""Why a replica does not follow, in PostgreSQL's own words where they can be had: out of its log."""

from __future__ import annotations

import re
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.replica.state import ANEW, ReplicaState
from publisher.replica.subscription import STATISTICS_SINCE, Subscription

TAIL_BYTES = 256 * 1024
MOST_CHARACTERS = 400
# Where nothing collects the log, as under a service manager, PostgreSQL does not know where it is.
LOGS: LiteralString = "SELECT pg_current_logfile('jsonlog'), pg_current_logfile('stderr')"
LOGS_BEFORE_15: LiteralString = "SELECT NULL, pg_current_logfile('stderr')"
READ: LiteralString = """
SELECT pg_read_file(%(path)s, greatest((pg_stat_file(%(path)s)).size - %(bytes)s, 0), %(bytes)s)
"""
WORKER = "logical replication"
"""Begins what PostgreSQL calls the processes that copy and apply."""
ELSEWHERE = "PostgreSQL's log there says why"


def stopped_because(state: ReplicaState, found: Subscription | None) -> str | None:
    """What of the subscription keeps it from following; None where nothing does."""
    if found is None:
        return f"subscription {state.slot} is gone: {ANEW}, replica promote takes over"
    if not found.is_enabled:
        return f"subscription {found.name} is disabled; ALTER SUBSCRIPTION {found.name} ENABLE"
    if found.pid is None:
        return f"nobody applies what subscription {found.name} gets: PostgreSQL starts its worker again and again"
    return None


def errors_told(found: Subscription) -> str:
    """What PostgreSQL counted of errors and conflicts; empty where there were none."""
    counted = []
    if found.apply_errors:
        counted.append(f"{found.apply_errors:,} errors while applying")
    if found.copy_errors:
        counted.append(f"{found.copy_errors:,} while copying")
    counted += [f"{count:,} times {kind}" for kind, count in (found.conflicts or {}).items()]
    return ", ".join(counted)


async def last_error(conn: AsyncConnection[Any], found: Subscription) -> str | None:
    """The last error of the subscription's workers as PostgreSQL's log has it; None where it has none.

    Where the log cannot be read from here, that is said. No transaction is begun: what another task does on `conn`
    meanwhile would be part of it, and be undone with it. Raises `Unavailable`.
    """
    try:
        logs = LOGS if conn.info.server_version >= STATISTICS_SINCE else LOGS_BEFORE_15
        with_json, plain = await (await conn.execute(logs)).fetchone() or (None, None)
        path = with_json or plain
        if path is None:
            return ELSEWHERE
        (text,) = await (await conn.execute(READ, {"path": path, "bytes": TAIL_BYTES})).fetchone() or ("",)
    except psycopg.errors.InsufficientPrivilege:
        return f"{ELSEWHERE}, which this user may not read (pg_read_server_files)"
    except (psycopg.errors.UndefinedFile, psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UndefinedFunction):
        return ELSEWHERE
    except psycopg.Error:
        with translated():
            raise
    return of_json(text, found.name) if with_json else of_text(text, found.name)


def of_json(text: str, name: str) -> str | None:
    """The last error in a log of JSON lines (PostgreSQL 15): of a process whose start names the subscription."""
    lines = text.splitlines()
    workers = {pid for line in lines if f'\\"{name}\\"' in line for pid in re.findall(r'"pid":(\d+),', line)}
    for line in reversed(lines):
        try:
            entry = orjson.loads(line)
        except ValueError:  # the first one may be cut
            continue
        if not isinstance(entry, dict):  # of another program that writes there
            continue
        is_worker = str(entry.get("backend_type", "")).startswith(WORKER) and str(entry.get("pid")) in workers
        if is_worker and entry.get("error_severity") in ("ERROR", "FATAL"):
            return _short(" ".join(str(entry[part]) for part in ("message", "detail") if entry.get(part)))
    return None


def of_text(text: str, name: str) -> str | None:
    """The last error in a log of text: of a process whose start names the subscription."""
    lines = text.splitlines()
    workers = {pid for line in lines if f'"{name}"' in line for pid in re.findall(r"\[(\d+)\]", line)}
    for place in range(len(lines) - 1, -1, -1):
        found = re.search(r"\[(\d+)\].*?(?:ERROR|FATAL):\s+(.*)", lines[place])
        if found is None or found[1] not in workers:
            continue
        detail = re.search(r"DETAIL:\s+(.*)", lines[place + 1]) if place + 1 < len(lines) else None
        return _short(" ".join([found[2], *([detail[1]] if detail else [])]))
    return None


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
