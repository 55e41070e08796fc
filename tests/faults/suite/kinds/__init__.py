"""The kinds of faults; importing this declares them."""

from tests.faults.suite.kinds import (
    between,
    consumers,
    failover,
    limits,
    nats,
    network,
    others,
    pooler,
    postgresql,
    processes,
    streams,
)

__all__ = [
    "between",
    "consumers",
    "failover",
    "limits",
    "nats",
    "network",
    "others",
    "pooler",
    "postgresql",
    "processes",
    "streams",
]
