"""The term of one leader: its settings, its connections and the cursor it moves."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import AsyncConnection

from publisher.outbox.cursor import Cursor
from publisher.relay.heartbeat import Heartbeat
from publisher.relay.metrics import RelayMetrics
from publisher.settings import Settings
from publisher.stream.event_stream import EventStream
from registry.profiles.profile import Profile


@dataclass(frozen=True)
class Term:
    """What recovery, completion and drain of one leader share; `conn` holds the leader's lock."""

    settings: Settings
    profile: Profile
    metrics: RelayMetrics
    conn: AsyncConnection
    stream: EventStream
    cursor: Cursor
    heartbeat: Heartbeat
