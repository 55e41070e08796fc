"""Which messages of the event stream a reader gets: events of this registry that match a filter."""

from __future__ import annotations

from collections.abc import Mapping

from registry.events.filter import EventFilter
from registry.profiles.profile import Profile


class Wanted:
    """A filter as it applies to the stream of one profile: by subject first, then by headers and payload."""

    def __init__(self, profile: Profile, wanted: EventFilter) -> None:
        profile.check_wanted(wanted.entity, wanted.action)
        self.subject = profile.event_filter(wanted.entity, wanted.action, wanted.project_id)
        """The narrowest subject wildcard that has all events that match."""
        self._profile = profile
        self._beyond_subject = None if wanted.is_decided_by_subject(is_shared=profile.is_shared) else wanted
        self.beyond_subject = (self._beyond_subject or EventFilter()).to_json().decode()
        """The filter, as JSON, where the subject alone does not say what matches; else an empty one."""

    def has(self, headers: Mapping[str, str] | None, payload: bytes) -> bool:
        """Whether a message that came on the subject is such an event; anybody may publish on it."""
        outbox_id, _ = self._profile.identity(headers or {})
        if outbox_id is None:
            return False
        return self._beyond_subject is None or self._beyond_subject.matches(payload)
