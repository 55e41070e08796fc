"""Which replicas of a stream do not hold all of it now."""

from __future__ import annotations

from nats.js.api import ClusterInfo


def replicas_away(found: ClusterInfo | None) -> list[str]:
    """Names of the servers whose replica is away or behind; none where nats-server stands alone."""
    peers = (found.replicas if found else None) or []
    return [str(peer.name) for peer in peers if peer.offline or not peer.current]
