"""One server process under its guard: start, readiness, end, and the lock that outlives all of us.

The lock is a flock on a file of the state directory whose descriptor every process of the server inherits. While
anything of a server runs, the lock is held, whoever of us was killed; once it is free, all that is left is stale.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

from publisher.embedded import guard
from publisher.embedded.account import Account
from publisher.embedded.place import opened, private
from publisher.embedded.state_dir import try_lock
from registry.errors import Conflict, Unavailable

GUARD = Path(guard.__file__).resolve()
START_SECONDS = 120.0  # recovery after a crash replays up to max_wal_size
PREDECESSOR_SECONDS = 40.0  # longer than a guard takes at worst
GUARD_SIGNALS = 128
"""The guard's exit status of a server that a signal ended is this and the signal's number."""
_POLL_SECONDS = 0.005

Steps = list[tuple[signal.Signals, float]]


@dataclass(frozen=True)
class Start:
    """How a server is started."""

    is_again: bool = False
    """Whether it ran a moment ago: then it is started where it was and on what it had, or not at all."""
    given_up: Event = field(default_factory=Event)
    """Set by another thread that does not want the server any more."""


FIRST = Start()


@dataclass
class EmbeddedServer:
    """One running server. `url` is complete, with its secret; `pid` is the server's own process id."""

    name: str
    url: str
    pid: int
    log: Path
    _guard: subprocess.Popen[bytes]
    _log_start: int

    def is_running(self) -> bool:
        """Whether the server is still there."""
        return self._guard.poll() is None

    @property
    def status(self) -> int:
        """Exit status of a server that has ended: its own, 128 + signal, or negative when the guard was killed."""
        return self._guard.wait()

    def ask_to_stop(self) -> None:
        """Begin an orderly stop, which the guard completes whatever happens to us."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended, at most `timeout` seconds; whether it has. Blocks: not for an event loop."""
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout)
        return not self.is_running()

    def exit_reason(self) -> str:
        """What ended it: SIGKILL, of which it knew nothing, its last fatal line since this start, or its last line."""
        try:
            with open(self.log, "rb", opener=private) as log:
                log.seek(self._log_start if os.fstat(log.fileno()).st_size >= self._log_start else 0)
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f'log "{self.log}" cannot be read: {error.strerror}'
        killed = self._killed_by()
        if self._guard.poll() == GUARD_SIGNALS + signal.SIGKILL:  # a fatal line is then some client's of before
            return killed[-1]
        fatal = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "[FTL]", "error:"))]
        return (fatal or killed or lines or [f'no reason in log "{self.log}"'])[-1].strip()

    def _killed_by(self) -> list[str]:
        status = self._guard.poll() or 0
        if status <= GUARD_SIGNALS:
            return []
        number = status - GUARD_SIGNALS
        name = signal.Signals(number).name if number in signal.valid_signals() else "unknown"
        return [f'killed by signal {number} ({name}); its log is "{self.log}"']


def launch(
    name: str, log: Path, command: list[str], lock: int, stop: Steps, runner: Account, *, in_folder: bool = False
) -> EmbeddedServer:
    """Start `command` under a guard; `lock` stays held until its last process is gone.

    It runs in the folder of its log when `in_folder`, else at the root of all. `stop` are the signals that the guard
    ends it with, and how many seconds it waits after each. The `url` of the result is the caller's to fill in. Raises
    `Unavailable` when the command cannot be run.
    """
    with ExitStack() as stack:
        errors = stack.enter_context(open(log, "a+b", opener=private))
        log_start = errors.tell()
        folder = opened(log.parent)
        stack.callback(os.close, folder)
        steps = [(int(number), seconds) for number, seconds in stop]
        task = guard.Task(command, str(log), folder, lock, steps, in_folder, runner.uid, runner.gid)
        process = subprocess.Popen(
            [*runner.prefix, sys.executable, "-I", "-S", str(GUARD), json.dumps(asdict(task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env=os.environ | {"LC_ALL": "C"},
            pass_fds=(lock, folder),
            start_new_session=True,  # Ctrl-C in the terminal is for us: we stop the server when we are done with it
        )
    server = EmbeddedServer(name, "", 0, log, process, log_start)
    try:
        with process.stdout as output:  # type: ignore[union-attr]  # a PIPE was asked for
            pid = output.readline()
    except KeyboardInterrupt:
        server.ask_to_stop()
        process.wait()
        raise
    if not pid:
        process.wait()
        raise Unavailable(f"{name} did not start: {server.exit_reason()}")
    server.pid = int(pid)
    return server


def wait_until_ready(server: EmbeddedServer, ready: Callable[[], bool], start: Start = FIRST) -> None:
    """Return when `ready()`; raises `Unavailable` with the server's own words when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if start.given_up.is_set():
            raise Unavailable(f"{server.name} was given up while it started")
        if server.wait(_POLL_SECONDS):
            raise Unavailable(f"{server.name} did not start: {server.exit_reason()}")
        if time.monotonic() > deadline:
            raise Unavailable(f"{server.name} was not ready after {START_SECONDS:g} s; last: {server.exit_reason()}")


def stop(server: EmbeddedServer, lock: Path, steps: Steps) -> None:
    """End the server and wait until its last process is gone."""
    server.ask_to_stop()
    if server.status >= 0:
        return
    # The guard was killed. The kernel has told the server; the lock tells whether any of it is left.
    for number, seconds in (*steps, (signal.SIGKILL, 5.0)):
        if _released(lock, 0.0):
            return
        with suppress(ProcessLookupError):
            os.kill(server.pid, number)
        if _released(lock, seconds):
            return
    raise Unavailable(f'{server.name} process {server.pid} does not end after SIGKILL; "{lock}" is still held')


def _released(path: Path, seconds: float) -> bool:
    try:
        with server_lock(path, "", seconds):
            return True
    except Conflict:
        return False


@contextmanager
def server_lock(path: Path, name: str, seconds: float | None = None, start: Start = FIRST) -> Iterator[int]:
    """Lock that a server's processes inherit. Waits for a predecessor that is just being stopped by its guard."""
    seconds = PREDECESSOR_SECONDS if seconds is None else seconds
    held = private(str(path), os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + seconds
    try:
        while not try_lock(held):
            if time.monotonic() >= deadline or start.given_up.is_set():
                raise Conflict(f'state directory "{path.parent}": its {name} is still running after {seconds:g} s')
            time.sleep(_POLL_SECONDS)
        yield held
    finally:
        os.close(held)
