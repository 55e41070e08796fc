"""The events: what can happen, what each says, and the envelope it comes in."""

from typing import TYPE_CHECKING

from registry.deferred import deferred
from registry.events.actions import ACTIONS, check_filter

if TYPE_CHECKING:
    from registry.events.catalogue import UPCASTERS, VERSIONS, Event, parse, upcast

__all__ = ["ACTIONS", "UPCASTERS", "VERSIONS", "Event", "check_filter", "parse", "upcast"]

__getattr__ = deferred(
    __name__, "registry.events.catalogue", frozenset({"UPCASTERS", "VERSIONS", "Event", "parse", "upcast"})
)
"""Fifty models: who follows events as they are needs none of them."""
