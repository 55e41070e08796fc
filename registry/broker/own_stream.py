"""A stream of ours beside that of the events: made with its limits, and given them where it has none.

A limit that somebody set by hand stays. Which ones are ours stands in the stream's metadata, so that another setting
counts from the next start on. A limit for one subject is not set while a subject holds more than half of it: the server
would remove the oldest of what is beyond, though the stream refuses what comes.
"""

from __future__ import annotations

import json
from typing import Any

import nats.js.errors
import orjson
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig

from registry.broker.errors import NO_ROOM, translated_nats
from registry.broker.jetstream import REQUEST_TIMEOUT_SECONDS, answer_in
from registry.broker.permitted import NotPermitted, api_of
from registry.errors import Conflict
from registry.log import log

OURS = "imi-limits"
"""Member of a stream's metadata: the limits that were set here, as JSON."""
NONE = -1
"""A limit that is not set."""
OF_A_SUBJECT = "max_msgs_per_subject"
Config = dict[str, Any]


async def open_own(client: Client, wanted: StreamConfig, *, like: str | None = None) -> bool:
    """Create the stream (True), or give the one that exists the limits that it has not.

    One that is created has as many replicas as `wanted` says, or, where `like` names a stream, as that one.
    Raises `Unavailable`, `Conflict`.
    """
    given = {name: getattr(wanted, name) for name in ("max_msgs", "max_bytes", "max_msg_size")}
    ours = {name: NONE if value is None else value for name, value in given.items()}
    if wanted.discard_new_per_subject:
        ours[OF_A_SUBJECT] = wanted.max_msgs_per_subject
    with translated_nats(f"cannot open stream {wanted.name}"):
        try:
            answer = await _ask(client, "INFO", wanted.name or "", {})
        except nats.js.errors.NotFoundError:
            config = wanted.as_dict() | {"metadata": {OURS: json.dumps(ours)}}
            if like is not None:
                config["num_replicas"] = await _replicas_of(client, like)
            await _store(client, "CREATE", config)
            return True
        found: Config = answer["config"]
        _check(found, wanted)
        if await _would_remove(client, answer, ours):
            ours[OF_A_SUBJECT] = found.get(OF_A_SUBJECT, NONE)
        changes = _changes(found, ours) | {"discard": wanted.discard.value if wanted.discard else "old"}
        if changes.get(OF_A_SUBJECT, found.get(OF_A_SUBJECT)) != found.get(OF_A_SUBJECT):
            changes["discard_new_per_subject"] = bool(wanted.discard_new_per_subject)
        news = {name: value for name, value in changes.items() if found.get(name) != value}
        if not news:
            return False
        log.info(
            "stream gets its limits", stream=wanted.name, **{name: news[name] for name in news.keys() - {"metadata"}}
        )
        await _store(client, "UPDATE", found | changes)
        return False


async def _replicas_of(client: Client, stream: str) -> int:
    """How many replicas a stream has; 1 where there is none, or none that this account may look at."""
    try:
        answer = await _ask(client, "INFO", stream, {})
    except (nats.js.errors.NotFoundError, NotPermitted):
        return 1
    return int(answer["config"]["num_replicas"])


def _check(found: Config, wanted: StreamConfig) -> None:
    """Raise `Conflict` for a stream of somebody else, which is left as it is."""
    problems = []
    retention = (wanted.retention or RetentionPolicy.LIMITS).value
    usable = {retention}
    if retention == RetentionPolicy.LIMITS.value:
        usable.add(RetentionPolicy.WORK_QUEUE.value)  # it keeps what nobody takes; by interest it would keep nothing
    if found.get("retention") not in usable:
        problems.append(f"retention is {found.get('retention')}, expected {retention}")
    if found.get("subjects") != wanted.subjects:
        problems.append(f"subjects are {found.get('subjects')}, expected {wanted.subjects}")
    if found.get("sealed") or found.get("mirror"):
        problems.append("it takes no messages (sealed, or a mirror)")
    if problems:
        raise Conflict(f"stream {wanted.name} cannot be used: {'; '.join(problems)}")


async def _would_remove(client: Client, answer: Config, ours: dict[str, int]) -> bool:
    """Whether the limit for one subject is lower than the stream's, and some subject may hold more; says so.

    What comes in between is room enough for: half of the limit.
    """
    found, limit = answer["config"], ours.get(OF_A_SUBJECT, NONE)
    has_it = 0 < found.get(OF_A_SUBJECT, NONE) <= limit
    if limit <= 0 or has_it or answer["state"]["messages"] <= limit // 2:
        return False
    told = await _ask(client, "INFO", found["name"], {"subjects_filter": ">"})
    held: dict[str, int] = told["state"].get("subjects") or {}
    subject = max(held, key=held.__getitem__, default="")
    is_all = told.get("total", 0) <= len(held)  # of very many subjects it tells a part
    if is_all and held.get(subject, 0) <= limit // 2:
        return False
    log.warning(
        "limit waits for the next start: a subject holds more than half of it",
        stream=found["name"],
        limit=limit,
        subject=subject,
        messages=held.get(subject, 0),
    )
    return True


def _changes(found: Config, ours: dict[str, int]) -> Config:
    """The limits of `ours` that the stream has not, and is to have: those that nobody set by hand."""
    metadata = found.get("metadata") or {}
    before = _limits_in(metadata.get(OURS, "{}"))
    theirs = {name for name in ours if found.get(name, NONE) not in (NONE, before.get(name))}
    taken = {name: value for name, value in ours.items() if name not in theirs}
    no_more = {name: NONE for name in before.keys() - ours.keys() if found.get(name) == before[name]}
    return taken | no_more | {"metadata": metadata | {OURS: json.dumps(taken)}}


def _limits_in(text: str) -> dict[str, int]:
    """The limits that stand in a stream's metadata; none where somebody else wrote there."""
    try:
        limits = orjson.loads(text)
    except ValueError:
        return {}
    return limits if isinstance(limits, dict) else {}


async def _store(client: Client, action: str, config: Config) -> None:
    """Create or update the stream; without a limit of bytes where the server, which reserves them, has no such room."""
    try:
        await _ask(client, action, config["name"], config)
    except nats.js.errors.APIError as error:
        if error.err_code not in NO_ROOM or config.get("max_bytes", NONE) == NONE:
            raise
        log.warning(
            "stream has no limit of bytes: NATS has no such room to reserve",
            stream=config["name"],
            max_bytes=config["max_bytes"],
            reason=error.description,
        )
        await _ask(client, action, config["name"], config | {"max_bytes": NONE})


async def _ask(client: Client, action: str, name: str, request: Config) -> Config:
    """What JetStream answers about a stream: as it is, so that nothing in it that is not ours gets lost."""
    subject = f"{api_of(client)}.STREAM.{action}.{name}"
    answered = await client.request(subject, orjson.dumps(request), timeout=REQUEST_TIMEOUT_SECONDS)
    return answer_in(answered.data)
