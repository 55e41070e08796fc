"""The client: what a component uses to change the registry and to follow it, over NATS alone."""

from registry.broker.access import Access
from registry.client.client import RegistryClient
from registry.client.hand import Delivery
from registry.client.sender import Sending

__all__ = ["Access", "Delivery", "RegistryClient", "Sending"]
