"""What a command is about, for the order: commands that share a key are carried out one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from registry.commands.reading import Command


def keys(command: Command) -> frozenset[str]:
    """The command itself, and the project, worktree, path or type it names.

    A project's origin is reduced to owner/repo, so that all its forms are one key. A name that only the database can
    tell to mean the same (an id and an origin) is another key.
    """
    return frozenset({f"id:{command.id}", *_keys(command)})


def _keys(command: Command) -> Iterator[str]:
    data = command.data
    if command.idempotency_key is not None:
        yield f"idempotency key of {command.sender}:{command.idempotency_key}"
    for name in ("project_id", "worktree_id"):
        if data.get(name) is not None:
            yield f"{name}:{data[name]}"
    if data.get("remote_origin") is not None:
        origin = data["remote_origin"].lower().rstrip("/").removesuffix(".git")
        yield f"origin:{'/'.join(re.split('[:/]', origin)[-2:])}"
    for name in ("path", "new_path"):
        if data.get(name) is not None:
            yield f"path:{re.sub('/+', '/', data[name]).rstrip('/')}"
    if command.name.startswith("worktree_type."):
        yield f"type:{data.get('name')}"
