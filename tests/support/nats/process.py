"""A nats-server of a test's own, with a configuration of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import randrange
from typing import Any

from publisher.embedded.binaries import nats_binary
from publisher.embedded.nats_server import _listening_port
from tests.support.services import wait_until

KEPT = (15_000, 32_000)
"""Below what Linux, macOS and others give to connections and to whoever listens on port 0."""


class NatsProcess:
    """nats-server on loopback, with the configuration in `file`."""

    def __init__(self, file: Path, directory: Path, binary: Path | None = None) -> None:
        self._file = file
        self._directory = directory
        self._binary = binary or nats_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, and wait until it listens."""
        for stale in self._directory.glob("*.ports"):
            stale.unlink()
        ports, log = str(self._directory), str(self._directory / "nats.log")
        self._process = subprocess.Popen(
            [self._binary, "-c", self._file, "--ports_file_dir", ports, "-l", log], stdin=subprocess.DEVNULL
        )
        wait_until(lambda: self._listens() or self._ended())
        assert self._process.poll() is None, self.log()

    def stop(self) -> None:
        """Stop it in order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGHUP reads the configuration again, SIGUSR2 sends clients away and ends.

        After SIGSTOP it has stopped, with all its threads.
        """
        assert self._process is not None
        os.kill(self._process.pid, number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def wait(self) -> None:
        """Wait until it has ended."""
        assert self._process is not None
        self._process.wait()

    @property
    def store(self) -> Path:
        """Where JetStream stores."""
        return self._directory / "nats"

    def end(self) -> None:
        """End it whatever its state."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it logged."""
        file = self._directory / "nats.log"
        return file.read_text() if file.exists() else ""

    def url(self, userinfo: str = "", scheme: str = "nats") -> str:
        """Its URL for somebody."""
        return f"{scheme}://{userinfo}{'@' if userinfo else ''}127.0.0.1:{self.port}"

    def _listens(self) -> bool:
        assert self._process is not None
        self.port = _listening_port(self._directory, self._process.pid) or 0
        return self.port > 0

    def _ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None


@contextmanager
def nats_process(directory: Path, *, binary: Path | None = None, **configuration: Any) -> Iterator[NatsProcess]:
    """A running server with JetStream in `directory`; `configuration` is as in its file."""
    port = free_port()
    file = directory / "nats.conf"
    configure(file, port=port, store=directory / "nats", **configuration)
    server = NatsProcess(file, directory, binary)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port on loopback that nobody has, of those that the system gives to no one who asks for any."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", randrange(*KEPT))) as free:
            port: int = free.getsockname()[1]
            return port


def configure(file: Path, *, port: int, store: Path, **configuration: Any) -> None:
    """Write a configuration, which may be JSON."""
    common = {"listen": f"127.0.0.1:{port}", "jetstream": {"store_dir": str(store)}}
    file.write_text(json.dumps(common | configuration, ensure_ascii=False))
