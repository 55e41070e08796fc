"""`endpoints.json` in the state directory: where the servers of a running `imi-registry up` are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from publisher.settings import Settings

NAME = "endpoints.json"


@contextmanager
def published(state_dir: Path) -> Iterator[Callable[[Settings, str], None]]:
    """Yields the function that writes `state_dir/endpoints.json` (mode 0600, appearing complete).

    The file exists only while the servers it names are there: a stale one is removed first, and this one at the end.
    """
    path = state_dir / NAME
    path.unlink(missing_ok=True)

    def publish(settings: Settings, http_url: str) -> None:
        content = {"database_url": settings.database_url, "nats_url": settings.nats_url, "http_url": http_url}
        unfinished = path.with_suffix(".json.new")
        unfinished.unlink(missing_ok=True)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        unfinished.replace(path)

    try:
        yield publish
    finally:
        path.unlink(missing_ok=True)
