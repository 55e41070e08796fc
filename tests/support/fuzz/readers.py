"""Every reader of foreign bytes in this project, with what is valid for it and what it promises to raise."""

from __future__ import annotations

import io
import json
import tomllib
import unicodedata
from datetime import UTC, datetime

import zstandard
from nats.js.api import RawStreamMsg

from publisher.checkouts.git import _changed_files
from publisher.checkouts.origins import on_github, why_not_on_github
from publisher.cli.arguments.times import moment
from publisher.history.archive import _row
from publisher.history.lines import plain_lines, unpacked_lines
from publisher.history.phantoms import phantom_in
from publisher.query_service.service import parse as parse_query
from publisher.text import visible, visible_json
from publisher.web.console.json_view import marked
from registry import exact
from registry.broker.answers import raise_refusal
from registry.broker.connection import servers_in
from registry.broker.identity.nkey import UserKey
from registry.broker.identity.secret_file import read_line
from registry.broker.journal import _line
from registry.commands.reading import read, reply_address
from registry.database.sqlite.values import time
from registry.dead_letters.letter import letter_in, redelivery_in
from registry.errors import Invalid
from registry.events import parse
from registry.events.envelope import attributes_of
from registry.events.filter import EventFilter
from registry.history.pages import HistoryPage, HistoryRequest, Replayed
from registry.history.snapshot import Snapshot
from registry.position import Position
from registry.profiles.bloodbank import BloodbankProfile
from registry.profiles.imi import ImiProfile
from registry.profiles.paths import without_paths
from registry.queries import QUERIES
from registry.urls import redacted, safe_to_tell
from tests.support.fuzz import files
from tests.support.fuzz.answers import ANSWERS
from tests.support.fuzz.files import in_file
from tests.support.fuzz.pages import PAGES
from tests.support.fuzz.reader import EVENTS, ID, Reader, examples, of_text

COMMANDS_SENT = {
    name.removesuffix(".v1"): [
        json.dumps({"specversion": "1.0", "id": ID, "source": "urn:x", "type": f"imi.{name}", "data": data}).encode()
        for data in found
    ]
    for name, found in examples("commands").items()
}
TOKENS = [b"1.42.17.0", b"1.42.17.1.3-5,9-12"]
FILTERS = [b'{"entity": "worktree", "agent_id": "ada", "since": "2026-01-21T10:00:00+00:00"}']
PAGE = HistoryPage([Replayed("imi.evt.v1.a.b.c", EVENTS[0], Position(1, 2))], Position(1, 2), 0).encode()
NOW = datetime(2026, 1, 21, 10, tzinfo=UTC)
ROWS = [
    b"P" + json.dumps({"id": ID, "name": "p", "remote_origin": "git@github.com:a/p.git", "metadata": {}}).encode(),
    b"W" + json.dumps(examples("events")["worktree.created.v1"][0]).encode(),
]
URLS = [
    b"postgresql://ada:s3cret@db/imi?sslmode=require",
    b"nats://t0ken@127.0.0.1:4222,tls://b",
    b"git@github.com:a/b.git",
]
URLS += [b"ssh://git@github.com:22/a/b.git", b"host=db password='a b' user=ada", b"https://u:p@github.com/a/b"]
STATUS = b"1 .M N... 100644 100644 100644 4bf9 4bf9 a b\x002 R. N... 1 1 1 4bf9 4bf9 R100 new\x00old\x00? x\x00"
CREATED = EventFilter.of(entity="worktree", agent_id="ada", worktree_id=ID)


def apply_event(data: bytes) -> None:
    Snapshot().apply(data)


def take_row(data: bytes) -> None:
    Snapshot().put_line(data)


def unpack(data: bytes) -> None:
    list(unpacked_lines(io.BytesIO(data)))


def read_letter(data: bytes) -> None:
    texts = data.decode(errors="replace").split("\n")
    letter_in("janitor", 1, dict(zip(texts[::2], texts[1::2], strict=False)), data)


def refuse(data: bytes) -> None:
    line = " ".join(data.decode(errors="replace").split())[:1000]  # as the value of a header can be
    code, _, text = line.partition(" ")
    raise_refusal({"Nats-Service-Error-Code": code, "Nats-Service-Error": text})


TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""What turns the order of the characters behind it."""


def show(text: str) -> None:
    for character in visible(text):
        assert unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}
        assert unicodedata.bidirectional(character) not in TURNS


LETTER = b"Imi-Subject\nimi.evt.v1.worktree.merged.x\nImi-Attempts\n5\nImi-Last-Failed\n2026-01-21T10:00:00+00:00"
REDELIVERIES = [b'{"actor": "ada", "at": "2026-01-21T10:00:00Z"}']
SEEDS = [b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"]
READERS = {
    "event": Reader(parse, EVENTS, (Invalid,)),
    "attributes of an event": Reader(attributes_of, EVENTS, (Invalid,)),
    "phantom": Reader(lambda data: phantom_in(data, 1), EVENTS, (Invalid,)),
    "filter of events": Reader(CREATED.matches, EVENTS, ()),
    "event of a projection": Reader(apply_event, EVENTS),
    "row of a snapshot": Reader(take_row, ROWS),
    "line of an export": Reader(lambda data: _row(data, 1), EVENTS),
    "export, compressed": Reader(unpack, [zstandard.compress(EVENTS[0] * 20)], (zstandard.ZstdError,)),
    "command": Reader(
        lambda data: read(data, "worktree.register", ImiProfile("imi", "urn:imi:registry").parse_command),
        COMMANDS_SENT["worktree.register"],
        (Invalid,),
    ),
    "command of the shared stream": Reader(
        lambda data: read(data, "project.register", BloodbankProfile("imi", "urn:imi:registry").parse_command),
        COMMANDS_SENT["project.register"],
        (Invalid,),
    ),
    "reply address": Reader(reply_address, [b'{"replyto": "_INBOX.a.b", "x": 1}', b'{"replyto": "_INBOX.a.b'], ()),
    "history request": Reader(HistoryRequest.decode, [HistoryRequest(Position(1), Position(9), CREATED).encode()]),
    "history page": Reader(lambda data: HistoryPage.decode(data, is_shared=False), [PAGE]),
    "filter": Reader(EventFilter.from_json, FILTERS, (Invalid,)),
    "token": Reader(of_text(Position.parse), TOKENS, (Invalid,)),
    "dead letter": Reader(read_letter, [LETTER], ()),
    "redelivery": Reader(
        lambda data: redelivery_in(1, ID, data), [b'{"actor": "ada", "at": "2026-01-21T10:00:00Z"}'], ()
    ),
    "refusal": Reader(refuse, [b"404 no such project", b"413 too large"]),
    "JSON": Reader(exact.loads, EVENTS, (ValueError,)),
    "JSON that is given": Reader(exact.loads_given, EVENTS, (ValueError,)),
    "JSON to be shown": Reader(marked, EVENTS, ()),
    "seed of a user": Reader(
        lambda data: UserKey.parse(data, "nkey"), [b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"]
    ),
    "URL to be told": Reader(of_text(lambda text: (redacted(text), safe_to_tell(text))), URLS, ()),
    "origin": Reader(of_text(lambda text: (on_github(text), why_not_on_github(text))), URLS, ()),
    "URL of NATS": Reader(of_text(servers_in), URLS, (Invalid,)),
    "paths in data": Reader(of_text(without_paths), [*EVENTS, b'{"path": "/home/ada/x", "a": "see C:\\\\x"}'], ()),
    "time in the old database": Reader(of_text(lambda text: time("at", text, NOW)), [b"2026-01-21 10:00:00"], ()),
    "secret in a file": Reader(in_file(lambda file: read_line("nats_token_file", file)), [b"s3cret\n"], (Invalid,)),
    "status of git": Reader(of_text(lambda text: list(_changed_files(text))), [STATUS], ()),
    "time": Reader(of_text(moment), [b"2026-01-21T10:00:00Z", b"30m", b"9999-12-31"], (Invalid,)),
    "text to be shown": Reader(of_text(show), [b"caf\xc3\xa9 \x1b[31m\xe2\x80\xae"], ()),
    "JSON to be shown as text": Reader(of_text(lambda text: visible_json(text, "latin-1")), EVENTS, ()),
    "TOML": Reader(of_text(tomllib.loads), [b'database_url = "x"\nbatch_size = 3'], (ValueError, RecursionError)),
    "settings in a file": Reader(in_file(files.settings), [files.SETTINGS]),
    "credentials of NATS": Reader(in_file(files.credentials), [files.CREDS], (Invalid,)),
    "configuration of ssh": Reader(in_file(files.ssh, ".ssh/config"), [files.SSH], ()),
    "old database": Reader(in_file(files.old_rows), [files.old_database()], (Invalid,)),
    "lines of an export": Reader(lambda data: list(plain_lines(io.BytesIO(data))), EVENTS),
    "line of a journal": Reader(lambda data: _line(RawStreamMsg(data=data)), REDELIVERIES, ()),
}


def of_query(name: str) -> Reader:
    """The reader of the requests of a query."""
    requests = [json.dumps(one).encode() for one in examples("queries").get(f"{name}.request.v1", [{}])]
    return Reader(lambda data: parse_query(name, data), requests, (Invalid,))


READERS |= {f"query {name}": of_query(name) for name in QUERIES}
READERS |= ANSWERS | PAGES
