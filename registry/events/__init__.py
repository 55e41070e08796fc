"""The events: what can happen, what each says, and the envelope it comes in."""

from registry.events.catalogue import ACTIONS, UPCASTERS, VERSIONS, Event, check_filter, parse, upcast

__all__ = ["ACTIONS", "UPCASTERS", "VERSIONS", "Event", "check_filter", "parse", "upcast"]
