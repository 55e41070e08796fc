"""The files that pages need, all of them ours to send: style, scripts, and what we ship of others with its licence.

They are read once. A page names each with a digest of its content, so that a browser may keep it for good.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


class File(NamedTuple):
    """One file."""

    content: bytes
    media_type: str
    digest: str


@cache
def files() -> dict[str, File]:
    """All of them, by their names below the folder."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[path.relative_to(FOLDER).as_posix()] = File(content, TYPES[path.suffix], digest)
    return found


def url_of(name: str) -> str:
    """Where a page finds a file."""
    return f"/static/{name}?{files()[name].digest}"


async def _file(request: Request) -> Response:
    found = files().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    is_named_by_content = request.url.query == found.digest
    kept = "public, max-age=31536000, immutable" if is_named_by_content else "no-cache"
    return Response(found.content, media_type=found.media_type, headers={"cache-control": kept, "etag": found.digest})


ROUTES = [Route("/static/{name:path}", _file)]
