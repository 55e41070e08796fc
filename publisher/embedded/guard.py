"""The guard: a process between us and one embedded server that stops the server when we are gone.

It reads nothing from its standard input but waits for its end: a pipe from us, which the kernel closes however we
die. Then it stops the server in order, and harder when that takes too long. Should the guard itself be killed, the
kernel signals the server (`PR_SET_PDEATHSIG`, Linux only). Runs on the standard library alone, as
`python -I -S guard.py TASK` with TASK the JSON of `Task`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

LOG_LIMIT_BYTES = 16 * 1024 * 1024
LOG_CHECK_SECONDS = 10.0
LOG = 2
_PR_SET_PDEATHSIG = 1
_ASKED_TO_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@dataclass(frozen=True)
class Task:
    """What one guard does, with the open log as its standard error.

    `stop` are (signal number, seconds to wait after it) pairs, tried in order before SIGKILL. `lock_fd` is an
    inherited descriptor that the server inherits too: its flock lasts until the last process of the server is gone.
    `folder_fd` is that of the folder of the log, whose name may be another one's by now; the server runs in it when
    `in_folder`.
    """

    command: list[str]
    log: str
    folder_fd: int
    lock_fd: int
    stop: list[tuple[int, float]]
    in_folder: bool = False
    uid: int | None = None
    gid: int | None = None


def main(argument: str) -> int:
    """Start the server, print its pid, wait for its end or ours; the server's exit status is ours (128 + signal)."""
    task = Task(**json.loads(argument))
    woken = _signals_as_bytes()
    if task.in_folder:
        os.fchdir(task.folder_fd)
    try:
        server = subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=LOG,
            stderr=LOG,
            pass_fds=(task.lock_fd,),
            user=task.uid,
            group=task.gid,
            extra_groups=None if task.uid is None else [],
            preexec_fn=_die_with_parent(task.stop[0][0]),
        )
    except OSError as error:
        os.write(LOG, f"error: cannot run {task.command[0]}: {error.strerror}\n".encode())
        return 127
    with suppress(BrokenPipeError):
        os.write(1, f"{server.pid}\n".encode())
    os.close(1)
    while server.poll() is None:
        readable, _, _ = select.select([0, woken], [], [], LOG_CHECK_SECONDS)
        if 0 in readable or (woken in readable and _ASKED_TO_STOP.intersection(os.read(woken, 512))):
            _stop(server, task.stop)
        _cut(f"{os.path.basename(task.log)}.1", task.folder_fd)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _signals_as_bytes() -> int:
    """Descriptor that becomes readable at each signal: SIGCHLD when the server ends, the others from people."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGCHLD, *_ASKED_TO_STOP):
        signal.signal(number, lambda *_: None)
    return reader


def _die_with_parent(death_signal: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    guard = os.getpid()

    def ask_the_kernel() -> None:
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0 or os.getppid() != guard:
            os._exit(126)

    return ask_the_kernel


def _stop(server: subprocess.Popen[bytes], steps: list[tuple[int, float]]) -> None:
    for number, seconds in steps:
        server.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
            return
    server.kill()
    server.wait()


def _cut(older: str, folder: int, log: int = LOG) -> None:
    """Keep the log and one older file. Everyone writes in append mode, so truncating below them is safe.

    Where the older file cannot be kept, on a full disk say, its lines are given up for the server's sake.
    """
    if os.fstat(log).st_size <= LOG_LIMIT_BYTES:
        return
    lost = ""
    try:
        _keep(older, folder, log)
    except OSError as error:
        lost = f"error: cannot keep the lines before this one as {older}: {error.strerror}\n"
        with suppress(OSError):
            os.unlink(older, dir_fd=folder)  # half of it helps nobody and takes room
    os.ftruncate(log, 0)
    with suppress(OSError):
        os.write(log, lost.encode())


def _keep(older: str, folder: int, log: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(older, dir_fd=folder)  # where it is a link, too: what that leads to is not ours
    made = os.open(older, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(log, "rb", closefd=False) as full, open(made, "wb") as copy:
        full.seek(0)
        shutil.copyfileobj(full, copy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
