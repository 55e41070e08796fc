"""The settings of an agreement: where several registries keep which id each origin has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from registry.broker.access import ALL_INBOXES, INBOXES

BUCKET = r"^[A-Za-z0-9_-]{1,128}$"


class AgreementSettings(BaseModel):
    """Part of `Settings`."""

    agreement_nats_url: str | None = Field(
        default=None,
        description="NATS in which registries agree on the ids of projects; without it this one agrees with none.",
    )
    agreement_nats_creds: Path | None = Field(default=None, description="Credentials file for that NATS.")
    agreement_nats_tls_ca: Path | None = Field(
        default=None, description="Certificates (PEM) of who vouches for that NATS; default: the system's."
    )
    agreement_js_domain: str | None = Field(
        default=None, description="Domain of the JetStream that has the bucket, behind a leaf node."
    )
    agreement_inbox_prefix: str = Field(
        default=ALL_INBOXES, pattern=INBOXES, description="What the subjects begin with on which that NATS answers."
    )
    agreement_bucket: str = Field(
        default="IMI_PROJECT_IDS", pattern=BUCKET, description="Key-value bucket in which ids are agreed on."
    )
    agreement_replicas: int = Field(
        default=3, ge=1, le=5, description="Replicas of that bucket where it is made: more than half must be there."
    )
    agreement_without_quorum: Literal["refuse", "derive"] = Field(
        default="refuse",
        description="What `project register` does with a new origin while nobody can agree: refuse it, or take the id "
        "that follows from the origin.",
    )
