"""Whether commands wait that nobody takes, or more of them than an applier leaves behind that keeps up."""

from __future__ import annotations

from nats.aio.client import Client

from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from registry.broker.errors import translated_nats
from registry.errors import NotFound, Unprepared

MANY = 1000
"""As of the alert ImiCommandsWait."""


async def command_findings(client: Client, settings: Settings) -> list[Finding]:
    """Look at the stream of commands. Raises `Unavailable`."""
    stream = profile_of(settings).commands.stream
    try:
        with translated_nats(f"cannot read stream {stream}"):
            state = (await client.jetstream().stream_info(stream)).state
    except (NotFound, Unprepared):  # no applier ever ran, or an account that may not ask
        return []
    wait = "1 command waits" if state.messages == 1 else f"{state.messages:,} commands wait"
    if state.messages and not state.consumer_count:
        them = "it" if state.messages == 1 else "them"
        why = f"nobody takes {them}: start imi-registry serve, with IMI_PARTS all or applier"
        return [Finding(False, f"{wait} and {why}", is_hindrance=False)]
    if state.messages > MANY:
        why = "the applier does not keep up, tries one again and again, or has died: see its log"
        return [Finding(False, f"{wait}: {why}", is_hindrance=False)]
    return []
