"""`imi-registry` as a process that is forked from one which has imported everything: all of a process but its start.

Most of what a command takes is the start of Python and its imports. Who looks at these, at signals, at memory, or at
what an interpreter makes of its variables (encoding, locale) runs one of its own: `tests/support/processes.py`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.support.processes import environment

IMPORTED = (
    "publisher.applier.dead_letters",
    "publisher.cli.arguments.references_over_nats",
    "publisher.cli.terminal.replay",
    "publisher.cli.terminal.tables",
    "publisher.embedded.endpoints",
    "publisher.logs",
    "publisher.service",
    "registry.client",
    "registry.database",
    "uvloop",
)
SECONDS = 60.0
ROOT = Path(__file__).parents[3]


def run(*arguments: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with `variables` set, as `processes.run` does."""
    request = {"arguments": arguments, "stdin": stdin or "", "environment": environment(**variables)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(_address())
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answers:
            answer = json.load(answers)
    return subprocess.CompletedProcess([*arguments], answer["code"], answer["out"], answer["err"])


class Started:
    """A command that goes on, with nothing to read and its output thrown away: what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: list[str], variables: dict[str, str], errors: IO[bytes]) -> None:
        """`errors` is its standard error."""
        request = {"arguments": arguments, "environment": variables}
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_address())
        socket.send_fds(self._connection, [b"\n"], [errors.fileno()])
        self._connection.sendall(json.dumps(request).encode())
        self._connection.shutdown(socket.SHUT_WR)
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it has not."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait until it has ended; returns how."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing, when it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it is just being told
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


@cache
def _address() -> str:
    """Where the process listens that commands are forked from. It ends with this one: its standard input tells it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.cli.forked"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        address = process.stdout.readline().strip()
    atexit.register(process.wait)
    atexit.register(process.stdin.close)  # first, as the last that is registered
    return address


def serve() -> None:
    """Fork a process for each request, until standard input ends."""
    from publisher.cli.main import Commands

    for command in Commands.deferred:
        command.load()
    for module in IMPORTED:
        import_module(module)
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="imi-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who answers a request is waited for by nobody
        print(f"{folder}/s", flush=True)
        os.dup2(2, 1)  # the reader has heard enough
        while listener in select.select([listener, 0], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                given, errors = _received(connection)
                if errors:
                    _keep(connection, given, errors[0])
                _answer(connection, given)
            connection.close()


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the standard error that came with it, if one did."""
    first, errors, _, _ = socket.recv_fds(connection, 1, 1)
    with connection.makefile("rb") as stream:
        return json.loads(first + stream.read()), errors


def _keep(connection: socket.socket, request: dict[str, Any], errors: int) -> NoReturn:
    """Run what goes on in a process of its own; tell its id, and how it ended."""
    nothing = os.open(os.devnull, os.O_RDWR)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _command(request, [nothing, nothing, errors])
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):  # nobody wants to know any more
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _answer(connection: socket.socket, request: dict[str, Any]) -> NoReturn:
    """Run what is asked for in a process of its own, and tell how it ended."""
    with (
        connection,
        connection.makefile("w") as stream,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        with tempfile.TemporaryFile() as given:
            given.write(request["stdin"].encode())
            given.seek(0)
            pid = os.fork()
            if pid == 0:
                _command(request, [given.fileno(), out.fileno(), err.fileno()])
        json.dump({"code": _code(pid), "out": _text(out), "err": _text(err)}, stream)
    os._exit(0)


def _command(request: dict[str, Any], streams: list[int]) -> NoReturn:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = ["imi-registry", *request["arguments"]]
    code = 1
    try:
        from publisher.cli.main import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # as the interpreter would
        traceback.print_exc()
    for written in (sys.stdout, sys.stderr):
        written.flush()
    os._exit(code)


def _code(pid: int) -> int:
    """How a process ended, as `subprocess` tells it; killed where it takes too long."""
    deadline = time.monotonic() + SECONDS
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(ended[1])


def _text(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


if __name__ == "__main__":
    serve()
