"""How long a command, the client's import and an empty Python take from start to end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.harness import backlog
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Report, Target, interleaved
from benchmarks.harness.servers import Servers, new_prefix
from benchmarks.harness.sizes import Sizes

READS = (
    *("status", "probe", "doctor", "actions", "phantoms", "capacity --writes 200/s", "inflight", "search feat-1"),
    *("stats", "stats --json", "path bench", "health", "slow-queries", "config show", "months status"),
    *("migrate status", "roles show", "schemas list", "schemas show worktree.merged.v1"),
    *("events replay --json", "events snapshot --json", "events show 1", "events dead-letters list"),
    *("history show project bench", "history verify", "history audit", "commands dead-letters list"),
    "events export -",
    *("project show bench", "project list", "project derived-ids", "worktree show feat-1@bench", "worktree list"),
    *("type list", "host list", "host show default", "activity list"),
)
"""Every command that reads and ends; of a mirror, a replica and an agreement there is none here, nor a dead letter."""
ASK_BOTH = {"imi-registry status", "imi-registry doctor", "imi-registry phantoms"}
"""Of these the ones that ask PostgreSQL and NATS."""
HELP, IMPORT = "imi-registry --help", "import registry.client"
MOST_SECONDS = {HELP: 0.15, IMPORT: 0.25}
MOST_SECONDS_OF_A_READ = 0.4
LEAST_CLIENT, LEAST_COMMAND = "import nats.js, pydantic", "import psycopg, pydantic, structlog, typer; SELECT 1"
LEAST_OF_BOTH = "import nats, psycopg, pydantic, structlog, typer; SELECT 1, PING"
LEAST_QUESTION = "import psycopg; SELECT 1"
ASK = 'psycopg.connect(os.environ["DATABASE_URL"]).execute("SELECT 1")'
LEAST_OF_A_CLIENT = "import nats.js, pydantic; type('Model', (pydantic.BaseModel,), {})"
LEAST_OF_A_COMMAND = f"""
import os, pydantic, psycopg, structlog, typer
type("Model", (pydantic.BaseModel,), dict())
{ASK}
"""
LEAST_OF_BOTH_SERVERS = f"""
import asyncio, nats
{LEAST_OF_A_COMMAND}
async def ping():
    client = await nats.connect(os.environ["NATS_URL"])
    await client.flush()
    await client.close()

asyncio.run(ping())
"""


async def measure(servers: Servers, sizes: Sizes, report: Report) -> None:
    """Add each start; of the commands that read the slowest is judged."""
    prefix = new_prefix()
    with servers.database() as url:
        with psycopg.connect(url) as conn:
            backlog.prepare(conn)
            conn.execute("CREATE EXTENSION pg_stat_statements")
        async with servers.console(url, prefix) as (_, http_url):
            port = http_url.rstrip("/").rpartition(":")[2]
            environment = servers.serve_environment(url, prefix) | {"IMI_HTTP_PORT": port}
            starts = await interleaved(_starts(environment), sizes.starts)
    for name, values in starts.items():
        report.add(name, "s", values)
    for name, least in ((HELP, "python -c pass"), (IMPORT, LEAST_CLIENT)):
        target = Target(name, "s", median(starts[name]), at_most=MOST_SECONDS[name])
        report.targets.append(bounded(target, {least: median(starts[least])}, "our modules"))
    slowest = max((_called(read) for read in READS), key=lambda name: median(starts[name]))
    figure = f"every command that reads, the slowest of {len(READS)}: {slowest}"
    target = Target(figure, "s", median(starts[slowest]), at_most=MOST_SECONDS_OF_A_READ)
    bounds = [LEAST_QUESTION, LEAST_COMMAND, *([LEAST_OF_BOTH] if slowest in ASK_BOTH else [])]
    less = {name: median(starts[name]) for name in bounds}
    report.targets.append(bounded(target, less, "our modules, and what is asked"))
    within = sum(median(starts[_called(read)]) <= MOST_SECONDS_OF_A_READ for read in READS)
    report.notes.append(f"{within} of {len(READS)} commands that read take at most {MOST_SECONDS_OF_A_READ:g} s.")


def _starts(environment: Mapping[str, str]) -> dict[str, Callable[[], Awaitable[float]]]:
    """What is timed from outside, by name: an empty Python, and what imports more and more."""
    python = partial(_seconds, sys.executable, env=os.environ | environment)
    command = partial(python, "-m", "publisher")
    return {
        "python -c pass": partial(python, "-c", "pass"),
        LEAST_CLIENT: partial(python, "-c", LEAST_OF_A_CLIENT),
        IMPORT: partial(python, "-c", IMPORT),
        LEAST_QUESTION: partial(python, "-c", f"import os, psycopg; {ASK}"),
        LEAST_COMMAND: partial(python, "-c", LEAST_OF_A_COMMAND),
        LEAST_OF_BOTH: partial(python, "-c", LEAST_OF_BOTH_SERVERS),
        HELP: partial(command, "--help"),
        **{_called(read): partial(command, *read.split()) for read in READS},
    }


def _called(read: str) -> str:
    return f"imi-registry {read}"


async def _seconds(*command: str, env: Mapping[str, str]) -> float:
    """How long a command takes from start to end. Raises `RuntimeError` with its words when it fails."""
    start = perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=env
    )
    _, errors = await process.communicate()
    seconds = perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {process.returncode}: {errors.decode().strip()}")
    return seconds
