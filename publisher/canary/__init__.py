"""The canary: a heartbeat event goes the whole way, again and again, so that a service that stands still is seen."""

from publisher.canary.canary import Canary
from publisher.canary.health import CanaryHealth

__all__ = ["Canary", "CanaryHealth"]
