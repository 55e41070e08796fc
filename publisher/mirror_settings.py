"""The settings of a mirror: how it reaches the registry that it follows."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from registry.broker.access import ALL_INBOXES, INBOXES
from registry.validation import PREFIX


class MirrorSettings(BaseModel):
    """Part of `Settings`."""

    mirror_nats_url: str | None = Field(
        default=None,
        description="NATS of the registry that this one mirrors: serve follows it, and writes nothing else.",
    )
    mirror_nats_creds: Path | None = Field(default=None, description="Credentials file for the NATS of the source.")
    mirror_nats_tls_ca: Path | None = Field(
        default=None, description="Certificates (PEM) of who vouches for the NATS of the source; default: the system's."
    )
    mirror_js_domain: str | None = Field(
        default=None, description="Domain of the JetStream that has the source's events, behind a leaf node."
    )
    mirror_inbox_prefix: str = Field(
        default=ALL_INBOXES, pattern=INBOXES, description="What the subjects begin with on which the source answers."
    )
    mirror_prefix: str = Field(default="imi", pattern=PREFIX, description="Prefix (`IMI_PREFIX`) of the source.")
    mirror_stream: str | None = Field(
        default=None,
        description="Stream with the source's events, where that is a mirror of it in NATS by another name.",
    )
