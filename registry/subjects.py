"""Names on the wire: how a registry event is called and on which subject and stream it travels."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

NO_PROJECT = "-"


@dataclass(frozen=True)
class Names:
    """The `imi` naming profile. `prefix` is the first token of each subject, upper case of each stream."""

    prefix: str = "imi"

    @property
    def event_stream(self) -> str:
        """Stream that holds all events."""
        return f"{self.prefix.upper()}_EVENTS"

    @property
    def event_subjects(self) -> str:
        """Wildcard of all event subjects."""
        return f"{self.prefix}.evt.v1.>"

    def event_subject(self, entity: str, action: str, project_id: str | None) -> str:
        """Subject of one event: always six tokens, `-` where there is no project."""
        return f"{self.prefix}.evt.v1.{entity}.{action}.{project_id or NO_PROJECT}"

    def event_filter(
        self, entity: str | None = None, action: str | None = None, project_id: UUID | str | None = None
    ) -> str:
        """Subscription subject for the events of one entity, action or project; None means any."""
        return f"{self.prefix}.evt.v1.{entity or '*'}.{action or '*'}.{project_id or '*'}"

    def event_type(self, entity: str, action: str, version: int = 1) -> str:
        """CloudEvents `type`, which carries the major version."""
        return f"imi.{entity}.{action}.v{version}"

    def data_schema(self, entity: str, action: str, version: int = 1) -> str:
        """CloudEvents `dataschema`: the `$id` of one file under `schemas/`."""
        return f"urn:imi:registry:event:{entity}.{action}:v{version}"
