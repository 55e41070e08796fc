"""The client: what a component uses to change the registry and to follow it, over NATS alone."""

from registry.broker.access import Access
from registry.client.client import RegistryClient
from registry.client.sender import Sending
from registry.client.subscriber import Delivery

__all__ = ["Access", "Delivery", "RegistryClient", "Sending"]
