"""A running `imi-registry up`: its endpoints, its servers, and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import orjson
import psutil

from registry.broker.connection import flushed
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until

TIMEOUT_SECONDS = 90
"""Of what takes two seconds on a machine that has nothing else to do."""


@contextmanager
def up(
    state_dir: Path, *arguments: str, command: list[str] = COMMAND, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A running `up` and its endpoints; ended by SIGKILL if the test did not end it."""
    (state_dir / "endpoints.json").unlink(missing_ok=True)  # one that was killed could not remove its own
    process = subprocess.Popen(
        [*command, "up", "--state-dir", str(state_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    endpoints = state_dir / "endpoints.json"
    try:

        def ready() -> bool:
            assert process.poll() is None, process.communicate()[1]
            return endpoints.exists()

        wait_until(ready, TIMEOUT_SECONDS)
        yield process, json.loads(endpoints.read_text())
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def servers_of(state_dir: Path) -> list[psutil.Process]:
    """Processes that work in this state directory, whoever their parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(state_dir) in " ".join(process.cmdline()) or process.cwd() == str(state_dir):
                found.append(process)
        except psutil.Error:
            continue
    return found


def server_of(state_dir: Path, name: str, *dead: psutil.Process) -> psutil.Process:
    """The server of this name that is none of the dead, once it is there."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found[:] = [each for each in servers_of(state_dir) if _name_of(each) == name and each not in dead]
        return bool(found)

    wait_until(is_there, TIMEOUT_SECONDS)
    return found[0]


def _name_of(process: psutil.Process) -> str:
    """The name of a process, empty when it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    """End it by a signal; returns its exit code."""
    process.send_signal(number)
    return process.wait(TIMEOUT_SECONDS)


async def events_while(nats_url: str, work: Callable[[], object], count: int) -> list[dict[str, Any]]:
    """The first `count` events that any NATS client sees on the wildcard subject while `work` runs."""
    client = await nats.connect(nats_url)
    try:
        subscription = await client.subscribe("imi.evt.v1.>")
        await flushed(client)
        await asyncio.to_thread(work)
        return [orjson.loads((await subscription.next_msg(10)).data) for _ in range(count)]
    finally:
        await client.close()
