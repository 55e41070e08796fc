"""Readers of what a browser, a terminal or an environment gives, and of what is shown there."""

from __future__ import annotations

import json
import os
from unittest.mock import patch
from urllib.parse import urlencode

from starlette.exceptions import HTTPException

from publisher.cli.arguments.options import json_object
from publisher.cli.schemas import _checked
from publisher.cli.terminal.lines import line_of
from publisher.settings import load
from publisher.text import json_line, visible_json
from publisher.web.console.form_fields import data_of
from publisher.web.console.forms import _fields_in
from publisher.web.console.numbers import number_of
from publisher.web.console.session import Sessions
from publisher.web.console.sources.inspected import changes_of
from publisher.web.console.sources.wanted import Wanted
from publisher.web.guard import Guard
from registry.errors import Invalid
from tests.support.fuzz.files import in_file
from tests.support.fuzz.reader import EVENTS, ID, Reader, of_text, of_texts

SESSIONS = Sessions("s3cret")
COMMAND = {"remote_origin": "git@github.com:33god/imi.git", "trunk_path": "/x", "metadata": '{"a": [1.50, "b"]}'}
GIT = {"worktree_id": ID, "has_uncommitted": "true", "uncommitted_count": "3", "ahead": "", "behind": "9" * 400}
WANTED = {"entity": "worktree", "action": "merged", "project": ID, "agent": "ada", "since": "2026-01-21T10:00"}
ODD = [json.dumps(event | {"data": event["data"] | {"changed": 7}}).encode() for event in map(json.loads, EVENTS)]
"""Events of which something else than names has changed."""
HEAD = b"host: localhost:9464\norigin: http://localhost:9464\ncontent-length: 5\n"
HEAD += b"content-type: application/x-www-form-urlencoded"


def request(data: bytes) -> object:
    """The head of a request: a name and a value in each line, behind the target."""
    lines = [line.split(b": ", 1) for line in data.split(b"\n")]
    headers = [(line[0].lower(), line[1]) for line in lines if len(line) == 2]
    scope = {"type": "http", "method": "POST", "raw_path": data[:2000], "query_string": b"", "headers": headers}
    return Guard(nothing, hosts=["registry.example.com"], style="")._refusal(scope)


async def nothing(*_: object) -> None:
    raise AssertionError("no request is answered here")


def session(data: bytes) -> object:
    return SESSIONS.known(data.decode("latin-1"))


def signed() -> bytes:
    made = SESSIONS.sign_in("s3cret", "ada")
    assert made is not None
    return made.key.encode()


def actors(text: str) -> object:
    with patch.dict(os.environ, {"IMI_ACTORS": text.replace("\0", "")}):
        return load()


def one_line(data: bytes) -> None:
    assert "\n" not in visible_json(json_line(data))


PAGES = {
    "request over HTTP": Reader(request, [HEAD, HEAD.replace(b"http://localhost:9464", b"http://[::1")], ()),
    "session in a form": Reader(session, [signed()], ()),
    "fields of a form": Reader(_fields_in, [urlencode(COMMAND).encode()], (HTTPException,)),
    "command in a form": Reader(
        of_texts(lambda texts: data_of("project.register", texts)), [json.dumps(COMMAND).encode()], (Invalid,)
    ),
    "numbers in a form": Reader(
        of_texts(lambda texts: data_of("worktree.update_git_state", texts)), [json.dumps(GIT).encode()], (Invalid,)
    ),
    "filter of a page": Reader(of_texts(Wanted.of), [json.dumps(WANTED).encode()], (Invalid,)),
    "number in a URL": Reader(of_text(lambda text: number_of(text, "event")), [b"42"], (Invalid,)),
    "changes that an event tells": Reader(changes_of, EVENTS, ()),
    "line of an event": Reader(lambda data: (line_of(data), line_of(data, width=40)), [*EVENTS, *ODD], ()),
    "metadata as an argument": Reader(of_text(json_object), [b'{"a": [1.50, "b"]}'], (Invalid,)),
    "line of JSON": Reader(one_line, [EVENTS[0], b'{\r\n "a":\n 1}'], ()),
    "messages to be checked": Reader(in_file(lambda file: list(_checked(file))), [EVENTS[0], b"\n".join(EVENTS[:3])]),
    "setting in the environment": Reader(of_text(actors), [b'{"ada": ["ada"]}']),
}
