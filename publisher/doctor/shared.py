"""What the owner of shared streams has bound to them, beside what we publish and are asked on, and what is withheld."""

from __future__ import annotations

from nats.aio.client import Client

from publisher.doctor.findings import Finding
from publisher.outbox.known import Known
from publisher.settings import Settings, profile_of
from registry.broker.stream import bound_subjects
from registry.errors import Conflict


async def shared_findings(client: Client, settings: Settings, known: Known) -> list[Finding]:
    """One finding for each shared stream, none where the streams are our own. Raises `Unavailable`."""
    profile = profile_of(settings)
    if not profile.is_shared:
        return []
    findings = []
    for stream, is_events in ((profile.event_stream, True), (profile.commands.stream, False)):
        bound = await bound_subjects(client, stream)
        if bound is None:
            continue  # who needs it says that it is not there
        try:
            there = profile.on_streams(bound, None) if is_events else profile.on_streams(None, bound)
        except Conflict as error:
            findings.append(Finding(False, str(error)))
        else:
            ours = there.event_subjects if is_events else there.commands.filter
            findings.append(Finding(True, f"stream {stream} takes our subjects, {ours}"))
    if known.withheld:
        findings.append(
            Finding(
                True,
                f"{known.withheld:,} events stay in the outbox: the contract of stream {known.stream} has no name for "
                "them (docs/bloodbank.md, IMI_BLOODBANK_PROPOSED)",
            )
        )
    return findings
