"""nats-server out of its wheel: JetStream in the state directory, on loopback with a token.

In the state directory: `nats/` data, `nats.conf`, `nats.log`, `nats.token` (0600), `nats.port`, `nats.lock`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from publisher.embedded.account import Account
from publisher.embedded.binaries import nats_binary
from publisher.embedded.place import in_place, listed, read_small, remove
from publisher.embedded.process import FIRST, EmbeddedServer, Start, launch, server_lock, stop, wait_until_ready
from publisher.embedded.state_dir import new_secret, secret, starting, write_private
from registry.errors import Unavailable, Unusable

Setting = str | int | bool

NATS_STOP = [(signal.SIGTERM, 15.0)]
NATS_SETTINGS: dict[str, Setting] = {
    "max_payload": 8 * 1024 * 1024,
    "jetstream.sync_interval": "1s",  # nats-server's own default is two minutes
}

ANY_PORT = -1


@contextmanager
def nats_server(
    state_dir: Path,
    *,
    settings: Mapping[str, Setting] | None = None,
    binary: Path | None = None,
    start: Start = FIRST,
) -> Iterator[EmbeddedServer]:
    """nats-server with JetStream stored in `state_dir`, on loopback with a token, on the port it had before if free.

    The token is new at each start but one that `is_again`: clients of before tell theirs to whoever listens on that
    port while nothing of ours does.

    `settings` override `NATS_SETTINGS` (names of its configuration file; `jetstream.NAME` inside that block).
    Raises as `postgres` does.
    """
    directory = in_place(state_dir)
    nats_on = partial(_nats_on, directory, binary or nats_binary(), settings or {}, start)
    with ExitStack() as stack:
        with starting("nats-server"):
            port = _remembered_port(directory / "nats.port")
        try:
            server = stack.enter_context(nats_on(port))
        except Unavailable:
            if port == ANY_PORT or start.is_again:
                raise
            # Most likely somebody else has the port by now. Whatever else it was is said by the second try.
            server = stack.enter_context(nats_on(ANY_PORT))
        yield server


@contextmanager
def _nats_on(
    directory: Path, executable: Path, settings: Mapping[str, Setting], start: Start, port: int
) -> Iterator[EmbeddedServer]:
    with starting("nats-server"):
        if not executable.is_file():
            raise Unavailable(f'nats-server: program "{executable}" does not exist')
        with server_lock(directory / "nats.lock", "nats-server", start=start) as lock:
            token = (secret if start.is_again else new_secret)(directory / "nats.token")
            configuration = _nats_configuration(port, token, settings)
            write_private(directory / "nats.conf", json.dumps(configuration, ensure_ascii=False))
            for stale in (name for name in listed(directory) if name.endswith(".ports")):
                remove(directory / stale)
            command = [str(executable), "-c", "nats.conf"]
            log = directory / "nats.log"
            server = launch("nats-server", log, command, lock, NATS_STOP, Account(), in_folder=True)
    try:
        wait_until_ready(server, lambda: _listening_port(directory, server.pid) is not None, start)
        taken = _listening_port(directory, server.pid)
        write_private(directory / "nats.port", str(taken))
        server.url = f"nats://{token}@127.0.0.1:{taken}"
        yield server
    finally:
        stop(server, directory / "nats.lock", NATS_STOP)


def _nats_configuration(port: int, token: str, settings: Mapping[str, Setting]) -> dict[str, object]:
    """The configuration file, which may be written as JSON. Its paths are those of a server that runs in the folder."""
    jetstream: dict[str, object] = {"store_dir": "nats"}
    configuration: dict[str, object] = {"jetstream": jetstream}
    for name, value in (NATS_SETTINGS | dict(settings)).items():
        if name.startswith("jetstream."):
            jetstream[name.removeprefix("jetstream.")] = value
        else:
            configuration[name] = value
    return configuration | {
        "listen": f"127.0.0.1:{port}",
        "ports_file_dir": ".",
        "authorization": {"token": token},
    }


def _listening_port(directory: Path, pid: int) -> int | None:
    for name in (each for each in listed(directory) if each.endswith(f"_{pid}.ports")):
        with suppress(ValueError, OSError):  # not wholly written yet
            return int(json.loads(read_small(directory / name))["nats"][0].rpartition(":")[2])
    return None


def _remembered_port(file: Path) -> int:
    """The port that clients of this state directory know."""
    try:
        return int(read_small(file))
    except (FileNotFoundError, ValueError, Unusable):
        return ANY_PORT
