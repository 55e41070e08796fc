"""`imi-registry` as a process that is forked from one which has imported everything: all of a process but its start.

Most of what a command takes is the start of Python and its imports. Who looks at these, at signals, or at what an
interpreter makes of its variables (encoding, locale) runs one of its own: `tests/support/processes.py`.
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
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.support.processes import environment

IMPORTED = (
    "publisher.applier.dead_letters",
    "publisher.cli.arguments.references_over_nats",
    "publisher.cli.terminal.replay",
    "publisher.cli.terminal.tables",
    "publisher.embedded.endpoints",
    "publisher.logs",
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
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> NoReturn:
    """Run what is asked for in a process of its own, and tell how it ended."""
    with (
        connection,
        connection.makefile("rw") as stream,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        request = json.load(stream)
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
