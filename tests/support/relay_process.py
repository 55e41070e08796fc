"""`imi-registry serve` as a process of its own, to be killed, frozen and asked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson

from tests.support.cli import forked
from tests.support.processes import environment


class ServiceProcess:
    """A running process that logs to standard error; its log lines are `log()`."""

    def __init__(
        self, command: list[str], variables: dict[str, str], log_file: Path | None = None, *, is_forked: bool = False
    ) -> None:
        """`variables` are the environment's; the log goes to `log_file` where one is given.

        With `is_forked`, `command` is the arguments of an `imi-registry` that needs no start of Python.
        """
        if log_file is None:
            self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        else:
            self._output = log_file.open("w+b")
        self._process: subprocess.Popen[bytes] | forked.Started
        if is_forked:
            self._process = forked.Started(command, environment(**variables), self._output)
        else:
            self._process = subprocess.Popen(
                command,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._output,
            )
        self.pid = self._process.pid

    def log(self) -> list[dict[str, Any]]:
        """The log lines so far; a line that is no JSON, as the last words of a refusal are, becomes its `event`."""
        text = os.pread(self._output.fileno(), 64 * 1024 * 1024, 0)
        lines = [line for line in text.split(b"\n")[:-1] if line]
        return [orjson.loads(line) if line.startswith(b"{") else {"event": line.decode()} for line in lines]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        return [line for line in self.log() if line.get("event") == event]

    async def ready(self, timeout_seconds: float = 60) -> dict[str, Any]:
        """Wait for, and return, the line that tells this process leads or stands by."""
        return await self.until_logged("ready", timeout_seconds)

    async def until_logged(self, event: str, timeout_seconds: float = 60) -> dict[str, Any]:
        """Wait for the first log line of this event."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not (found := self.logged(event)):
                    assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.log()}"
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f'no "{event}" within {timeout_seconds:g} s: {self.log()}') from None
        return found[0]

    async def exit_code(self, timeout_seconds: float = 60) -> int:
        """Wait for the end; negative is the signal that ended it."""
        async with asyncio.timeout(timeout_seconds):
            while (code := self._process.poll()) is None:
                await asyncio.sleep(0.01)
        return code

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, as loss of power would; it cannot do anything more."""
        self._process.kill()

    def freeze(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever its state, and wait."""
        self._process.kill()
        self._process.wait()
        self._output.close()


class RelayProcess(ServiceProcess):
    """A running `imi-registry serve`."""

    def __init__(
        self,
        database_url: str,
        nats_url: str,
        prefix: str,
        *,
        log_file: Path | None = None,
        command: list[str] | None = None,
        **settings: object,
    ) -> None:
        """`settings` become `IMI_…` variables; without one for it there is no canary, whose events would be counted.

        It is forked, and its memory that of who forked it at first, unless there is a `command` that starts it.
        """
        settings = {"canary_seconds": 0} | settings
        variables = {f"IMI_{name.upper()}": str(value) for name, value in settings.items()}
        places = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "IMI_PREFIX": prefix}
        super().__init__([*(command or []), "serve"], variables | places, log_file, is_forked=command is None)

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        """Status code and body of `/readyz`."""
        url = (await self.ready())["http_url"]
        return await asyncio.to_thread(status_of, f"{url}/readyz")


@contextmanager
def relay_process(database_url: str, nats_url: str, prefix: str, **settings: object) -> Iterator[RelayProcess]:
    """Start a process for the block; `settings` become `IMI_…` variables. `ready` tells when it works."""
    process = RelayProcess(database_url, nats_url, prefix, **settings)
    try:
        yield process
    finally:
        process.close()


def status_of(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  # the service's own page
            return answer.status, orjson.loads(answer.read())
    except HTTPError as refused:
        with refused:
            return refused.code, orjson.loads(refused.read())
