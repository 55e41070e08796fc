"""`endpoints.json` in the state directory: where the servers of a running `imi-registry up` are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from publisher.embedded.place import check_links_are_ours, in_place, private, remove, small_text
from publisher.embedded.state_dir import (
    check_files_are_ours,
    check_folder_is_ours,
    check_was_made_here,
    is_in_use,
    write_private,
)
from registry.errors import Unusable

if TYPE_CHECKING:
    from publisher.settings import Settings

NAME = "endpoints.json"
NOT_RUNNING = "no imi-registry up runs there; start it, or name your servers with DATABASE_URL and NATS_URL"


class Endpoints(BaseModel):
    """What `endpoints.json` says and other commands need."""

    database_url: str
    nats_url: str


def of_running(state_dir: Path, *, is_trusted: bool = True) -> dict[str, str]:
    """The URLs of the `imi-registry up` that runs in `state_dir`. Raises `Unusable` with what is wrong with the folder.

    The folder must be ours. Where nobody named it (`is_trusted` is false), it must have been made here and its owner's
    lock be held: the files may have come with a repository, and would lead every command of who works in it to a server
    of somebody else.
    """
    try:
        check_links_are_ours(state_dir)
        check_folder_is_ours(state_dir)
        check_files_are_ours(state_dir)
        with open(state_dir / NAME, "rb", opener=private) as file:
            is_running = is_in_use(state_dir)
            if is_running is False or (is_running is None and not is_trusted):
                raise Unusable(f'state directory "{state_dir}": {NOT_RUNNING}')
            if not is_trusted:
                check_was_made_here(state_dir)
            content = small_text(file)
    except OSError as error:
        raise Unusable(f'state directory "{state_dir}": {_reason(state_dir, error)}') from None
    try:
        urls = Endpoints.model_validate_json(content)
    except ValidationError:
        raise Unusable(f'"{state_dir / NAME}" is not what imi-registry up writes; start it anew') from None
    return {"database_url": urls.database_url, "nats_url": urls.nats_url}


def _reason(state_dir: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"cannot be read: {error.strerror}"
    if not state_dir.exists():
        return "does not exist"
    return NOT_RUNNING


@contextmanager
def published(state_dir: Path) -> Iterator[Callable[[Settings, str], None]]:
    """Yields the function that writes `state_dir/endpoints.json` (mode 0600, appearing complete).

    The file exists only while the servers it names are there: a stale one is removed first, and this one at the end.
    """
    path = state_dir / NAME
    remove(path)

    def publish(settings: Settings, http_url: str) -> None:
        content = {"database_url": settings.database_url, "nats_url": settings.nats_url, "http_url": http_url}
        write_private(in_place(state_dir) / NAME, json.dumps(content, indent=2))

    try:
        yield publish
    finally:
        remove(path)
