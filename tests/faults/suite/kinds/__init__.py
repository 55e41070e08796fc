"""The kinds of faults; importing this declares them."""

from tests.faults.suite.kinds import nats, network, postgresql, processes

__all__ = ["nats", "network", "postgresql", "processes"]
