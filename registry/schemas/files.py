"""The documents of `schemas/` as files: what consumers in any language have, and nothing of the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from registry.errors import Invalid, NotFound

MOST_BYTES = 16 * 1024 * 1024
"""Of a document."""
Documents = dict[str, dict[str, Any]]
"""Path below `schemas/` to the document."""


def folder() -> Path:
    """The checked-in documents: `registry/_schemas` of an installed package, `schemas/` of a checkout."""
    packaged = Path(__file__).parents[1] / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schemas"


def load(source: Path) -> Documents:
    """The documents of a folder, or the one of a file, which is named by its file name.

    Raises `NotFound` where there are none, `Invalid` for what cannot be read or is no JSON object.
    """
    if source.is_file():
        return {source.name: _read(source)}
    files = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*.json"))}
    if not files:
        raise NotFound(f"{source}: no schemas there")
    return {name: _read(path) for name, path in files.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)  # it may be a device without an end
        if len(text) > MOST_BYTES:
            raise Invalid(f"{path}: it has more than {MOST_BYTES:,} bytes")
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{path}: not JSON: {error}") from error
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    if not isinstance(document, dict):
        raise Invalid(f"{path}: a JSON {type(document).__name__}, not an object")
    return document
