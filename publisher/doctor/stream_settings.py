"""Settings of streams that somebody made by hand and by which events or commands are lost or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StreamConfig, SubjectTransform

from publisher.applier.share import KINDS, StreamLimits
from publisher.doctor.findings import Finding
from publisher.settings import Settings, profile_of
from registry.broker.errors import translated_nats
from registry.dead_letters import DeadLetterDesk
from registry.errors import NotFound, Unprepared


class Rule(NamedTuple):
    """A setting, the values of it that do harm, what harm, and what it is to be."""

    field: str
    does_harm: Callable[[StreamConfig], object]
    harm: str
    wanted: str


def _is_limited(config: StreamConfig) -> bool:
    limits = (config.max_msgs, config.max_bytes, config.max_msgs_per_subject)
    return any(limit is not None and limit > 0 for limit in limits)


def _replaces(config: StreamConfig) -> bool:
    return config.max_msgs_per_subject > 0 and not config.discard_new_per_subject


ASYNC = Rule(
    "persist_mode",
    lambda config: config.persist_mode == "async",
    "what was acknowledged is lost when nats-server dies",
    "default, in a stream made anew",
)
NO_ACK = Rule("no_ack", lambda config: config.no_ack, "who publishes waits in vain to hear that it is stored", "false")
EVENTS = (
    ASYNC,
    Rule(
        "discard",
        lambda config: config.discard == DiscardPolicy.NEW and _is_limited(config),
        "once the stream is full it refuses events, and none goes out any more",
        "old",
    ),
    Rule(
        "max_msgs_per_subject",
        _replaces,
        "an older event of the same subject is dropped, also where a consumer has not read it",
        "-1",
    ),
    Rule(
        "subject_transform",
        lambda config: config.subject_transform,
        "events lie under subjects by which no consumer asks for them",
        "none",
    ),
)
"""Of a stream of events, whosever it is, beside those that `check` refuses in it."""
OWN_EVENTS = (
    NO_ACK,
    Rule(
        "max_msgs",
        lambda config: (config.max_msgs or 0) > 0,
        "beyond that the oldest event is dropped, also where a consumer has not read it",
        "-1 (IMI_STREAM_MAX_BYTES and IMI_STREAM_MAX_AGE_DAYS are the limits of the stream)",
    ),
    Rule(
        "deny_delete",
        lambda config: config.deny_delete,
        "rebuild-stream cannot give events their old sequences",
        "false, in a stream made anew",
    ),
    Rule(
        "deny_purge",
        lambda config: config.deny_purge,
        "rebuild-stream cannot give events their old sequences",
        "false, in a stream made anew",
    ),
)
"""Of a stream of events that is ours, beside those."""
COMMANDS = (
    ASYNC,
    NO_ACK,
    Rule(
        "discard",
        lambda config: config.discard != DiscardPolicy.NEW and _is_limited(config),
        "once the stream is full it drops its oldest commands, though their senders were told that they are taken",
        "new (the next start of an applier does it)",
    ),
    Rule(
        "max_age",
        lambda config: (config.max_age or 0) > 0,
        "a command that waits longer (s) is dropped, though its sender was told that it is taken",
        "0",
    ),
    Rule("max_msgs_per_subject", _replaces, "a command is dropped once others of its subject come", "-1"),
    Rule(
        "subject_transform",
        lambda config: config.subject_transform,
        "commands lie under subjects by which no applier asks for them",
        "none",
    ),
)
DEAD_LETTERS = (
    ASYNC,
    NO_ACK,
    Rule(
        "max_age",
        lambda config: (config.max_age or 0) > 0,
        "a dead letter is dropped after that time (s), whether somebody has looked at it or not",
        "0",
    ),
)

USERS = {"nats_creds", "nats_nkey", "nats_user"}
USER_IN_URL = re.compile(r"//[^/@:,]+:[^/@,]*@")


async def stream_settings_findings(client: Client, settings: Settings) -> list[Finding]:
    """Look at each stream of the profile, of those of others at that of the events. Raises `Unavailable`."""
    profile, findings = profile_of(settings), list[Finding]()
    rules: dict[str, tuple[Rule, ...]] = {profile.event_stream: EVENTS}
    if not profile.is_shared:
        rules[profile.event_stream] += OWN_EVENTS
        rules[profile.commands.stream] = COMMANDS
    rules[profile.commands.dead_letter_stream] = DEAD_LETTERS
    durables = await DeadLetterDesk(client, profile).durables(if_permitted=True)
    rules |= dict.fromkeys(map(profile.letters.stream, durables), DEAD_LETTERS)
    for stream, looked_at in rules.items():
        try:
            with translated_nats(f"cannot read stream {stream}"):
                config = (await client.jetstream().stream_info(stream)).config
        except (NotFound, Unprepared):  # told by who needs it, or an account that may not ask
            continue
        findings += harmful(stream, config, looked_at)
        if stream == profile.event_stream:
            findings += too_small(stream, config, client.max_payload)
        if looked_at is COMMANDS and tells_senders_apart(settings):
            findings += crowded(stream, config, client.max_payload)
    return findings


def tells_senders_apart(settings: Settings) -> bool:
    """Whether NATS, or the applier, has more than one sender: who is on it with a token alone shares it with nobody."""
    users = USERS.intersection(settings.nats_access.identities) or USER_IN_URL.search(settings.nats_url or "")
    return bool(users) or settings.actors is not None


def harmful(stream: str, config: StreamConfig, rules: Iterable[Rule]) -> Iterator[Finding]:
    """One finding for each of `rules` by which `config` does harm."""
    for rule in rules:
        if rule.does_harm(config):
            yield _told(stream, rule.field, getattr(config, rule.field), rule.harm, rule.wanted)


def too_small(stream: str, config: StreamConfig, max_payload: int) -> Iterator[Finding]:
    """Whether a stream refuses messages that its server takes, in bytes: the publisher knows the server's limit."""
    most = config.max_msg_size
    if most is not None and 0 < most < max_payload:
        harm = f"an event that is larger is refused, and none goes out behind it; the server takes {max_payload}"
        yield _told(stream, "max_msg_size", most, harm, "-1")


def crowded(stream: str, config: StreamConfig, max_payload: int) -> Iterator[Finding]:
    """Whether one sender can take so much of a stream of commands that others are told `Busy`."""
    limits = limits_of(config, max_payload)
    each = "any number" if limits.of_a_subject is None else f"{limits.of_a_subject:,}"
    kinds = f"of each of {KINDS} kinds {each}"
    if not limits.leave_bytes:
        own = "" if limits.bytes_of_a_sender is None else f", {limits.bytes_of_a_sender:,} in all"
        most = "has no limit of them" if limits.bytes is None else f"takes {limits.bytes:,}"
        yield _crowded(
            stream,
            f"{kinds}, of {limits.of_a_command:,} bytes{own}, and the stream {most}",
            "IMI_COMMANDS_MAX_PER_SENDER, IMI_COMMAND_MAX_BYTES and IMI_COMMANDS_MAX_BYTES so that it is at most half, "
            "as with 500, 65536 and 1073741824",
        )
    elif not limits.leave_messages:
        yield _crowded(
            stream,
            f"{kinds}, {limits.messages_of_a_sender:,} in all, and the stream takes {limits.messages:,}",
            "IMI_COMMANDS_MAX_PER_SENDER or IMI_COMMANDS_MAX_MESSAGES so that it is less",
        )


def limits_of(config: StreamConfig, max_payload: int) -> StreamLimits:
    """The limits that a stream of commands really has; no command is larger than what its server takes."""
    limits = (config.max_msgs, config.max_bytes, config.max_msgs_per_subject, config.max_msg_size)
    messages, most, each, size = (limit if limit is not None and limit > 0 else None for limit in limits)
    return StreamLimits(messages, most, each, min(size or max_payload, max_payload))


def _crowded(stream: str, why: str, wanted: str) -> Finding:
    text = (
        f"one sender can take more than half of stream {stream}, or all, and others are told Busy once it is full: it "
        f"may have waiting {why}; set {wanted}, "
        f"for the applier (what was set by hand: nats stream edit {stream})"
    )
    return Finding(False, text, is_hindrance=False)


def _told(stream: str, field: str, value: object, harm: str, wanted: str) -> Finding:
    text = f"{field} of stream {stream} is {_printed(value)}: {harm}; set it to {wanted}: nats stream edit {stream}"
    return Finding(False, text, is_hindrance=False)


def _printed(value: object) -> str:
    if isinstance(value, SubjectTransform):
        return f"{value.src} to {value.dest}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(getattr(value, "value", value)).lower()
