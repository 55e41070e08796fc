"""The client: what a component uses to change the registry and to follow it, over NATS alone."""

from registry.client.client import RegistryClient
from registry.client.sender import Sending
from registry.client.subscriber import Delivery

__all__ = ["Delivery", "RegistryClient", "Sending"]
