"""Of a mirror: of which registry, and how old. Nothing else of it is to be looked at: it publishes nothing."""

from __future__ import annotations

from datetime import timedelta

from psycopg import AsyncConnection

from publisher.doctor.findings import Finding
from publisher.mirror.state import OLD_SECONDS, read_state


async def mirror_findings(conn: AsyncConnection) -> list[Finding]:
    """How the mirror is; nothing for a registry that is none. Raises `Unavailable`."""
    state = await read_state(conn)
    if state is None or not state.is_mirror:
        return []
    if state.age_seconds is None:
        told = "has had no snapshot yet" if not state.snapshots else "has not caught up since its last snapshot"
        return [
            Finding(
                False, f"this registry is a mirror of {state.source}, and {told}: imi-registry mirror run follows it"
            )
        ]
    age = timedelta(seconds=round(max(state.age_seconds, 0)))
    text = f"this registry is a mirror of {state.source}, which had all that was published {age} ago"
    if state.age_seconds <= OLD_SECONDS:
        return [Finding(True, text)]
    return [Finding(False, f"{text}; is imi-registry mirror run there, and does the source publish?")]
