"""Readers of files that somebody else may have written, each as a reader of bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

from publisher.checkouts.ssh_config import host_name
from publisher.settings import FILE_VARIABLE, load
from registry.broker.access import Access
from registry.database.sqlite.source import opened
from tests.support.before.sqlite import OldDatabase
from tests.support.servers.scratch import scratch_root

CREDS = (
    b"-----BEGIN NATS USER JWT-----\neyJhIjoxfQ.eyJleHAiOiA0MTAyNDQ0ODAwfQ.c2ln\n------END NATS USER JWT------\n"
    b"-----BEGIN USER NKEY SEED-----\nSUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n"
    b"------END USER NKEY SEED------\n"
)
SETTINGS = b'nats_url = "nats://s3cret@127.0.0.1:4222"\nbatch_size = 3\nactors = {ada = ["ada"]}\nhttp_port = 1\n'
SSH = b'Host work "a b"\n  HostName github.com\nMatch originalhost wo* host *\nHostName = %h.example\n# x\n'


@contextmanager
def written(data: bytes, name: str) -> Iterator[Path]:
    """A file with these bytes, which nobody else reads."""
    with tempfile.TemporaryDirectory(dir=scratch_root()) as folder:
        file = Path(folder) / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        file.chmod(0o600)
        yield file


def in_file(take: Callable[[Path], object], name: str = "file") -> Callable[[bytes], object]:
    """A reader of a file as one of bytes."""

    def read(data: bytes) -> object:
        with written(data, name) as file:
            return take(file)

    return read


def credentials(file: Path) -> object:
    return Access(creds=file).credentials()


def settings(file: Path) -> object:
    with patch.dict(os.environ, {FILE_VARIABLE: str(file)}):
        return load()


def ssh(file: Path) -> object:
    return host_name("work", file.parents[1])


def old_rows(file: Path) -> object:
    with opened(file) as source:
        return [row for table in source.sizes for row in source.rows(table)]


@cache
def old_database() -> bytes:
    """A small file of the old database."""
    with tempfile.TemporaryDirectory(dir=scratch_root()) as folder:
        old = OldDatabase(Path(folder) / "imi.db")
        old.repository()
        old.worktree()
        old.activity()
        return old.file.read_bytes()
