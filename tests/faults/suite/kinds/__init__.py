"""The kinds of faults; importing this declares them."""

from tests.faults.suite.kinds import nats, network, others, pooler, postgresql, processes

__all__ = ["nats", "network", "others", "pooler", "postgresql", "processes"]
