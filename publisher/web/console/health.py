"""Health as named checks: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from publisher.doctor import Finding

if TYPE_CHECKING:
    from publisher.health import Health, LeadHealth
    from publisher.web.console.console import Console
    from publisher.web.console.sources.broker import Broker
    from publisher.web.console.sources.database import Database
    from publisher.web.console.sources.health import QuietHealth

WELL, NOTE, BAD, UNKNOWN = "well", "note", "bad", "unknown"
ORDER = (BAD, NOTE, UNKNOWN, WELL)

EXAMINED = {
    "publisher": "Publisher",
    "stream": "Event stream",
    "dead letters": "Dead letters",
    "transactions": "Transactions",
    "triggers": "Triggers",
    "connections and clock": "Connections and clock",
    "replication slots": "Replication slots",
    "events without data": "Events without data",
    "backfill": "Rows without events",
    "other streams": "Other streams",
    "servers": "Servers",
    "registry": "Registry",
}
"""What the examination looks at, by the names of its checks."""

ALWAYS = ("publisher", "stream", "dead letters", "transactions", "triggers", "connections and clock")
"""Checks that are shown when nothing was found, too; a finding that is well has words of its own."""

TO_DO = {
    "PostgreSQL": "Start PostgreSQL, or look into its log. Nothing is lost: writers are told, and everything goes on "
    "by itself when it answers.",
    "NATS": "Start NATS, or look into its log. Changes are kept in the outbox meanwhile, and are published by "
    "themselves when it answers.",
    "Dead letters": "Look at each, then send it again or drop it.",
    "Event stream": "See the runbook; imi-registry doctor tells the same on the command line.",
    "Publisher": "Events wait in the outbox and are kept. See what hinders it, or start imi-registry serve.",
    "Transactions": "End the transaction that is named: until then its events, and those that came after, wait.",
    "Triggers": "Switch it on again; imi-registry history verify then tells what was missed.",
}
SERVERS = ("PostgreSQL", "NATS")
COPIES = ("mirror", "replica")
"""Parts of a registry that is a copy of another one, which is not examined: it publishes nothing."""
NAMES = {"start": "First contact", "outbox_measurement": "Outbox figures", "stream_measurement": "Stream figures"}
LINKS = {
    "Dead letters": "/dead-letters",
    "Event stream": "/streams",
    "Publisher": "/streams",
    "Agreement": "/projects",
}


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str
    """`WELL`, `NOTE`, `BAD` or `UNKNOWN`."""
    texts: list[str]
    to_do: str = ""
    link: str = ""
    because: str = ""
    """The server that does not answer, where this fails over it: what to do is told there."""


def checks(console: Console) -> list[Check]:
    """All of them, the worst first."""
    starts_again = next((health.to_do() for health in console.others if health.to_do()), "")
    found = [
        _server("PostgreSQL", console.database, starts_again),
        _server("NATS", console.broker, starts_again),
        _lead("Relay", console.relay, "publishes what is committed"),
        _lead("Applier", console.applier, "takes commands"),
        *(_part(health) for health in console.others if health is not console.findings),
        *(_quiet(part.quiet) for part in (console.feed, console.samples, console.log) if part.quiet.reason()),
        *_examined(console),
    ]
    away = [check for check in found if check.name in SERVERS and check.state == BAD]
    return sorted((_explained(check, away) for check in found), key=lambda check: ORDER.index(check.state))


def _explained(check: Check, away: list[Check]) -> Check:
    """What fails over a server that is away says so, and not the same reason once more."""
    for server in away:
        if check.state == BAD and check.name not in SERVERS and check.to_do == TO_DO[server.name]:
            texts = [text.replace(server.texts[0], f"waits for {server.name}") for text in check.texts]
            return check._replace(texts=texts, to_do="", because=server.name)
    return check


def summary(console: Console) -> Check:
    """All in one: the worst state, and how many things are in it."""
    found = checks(console)
    bad = [check for check in found if check.state == BAD]
    notes = [check for check in found if check.state == NOTE]
    if bad:
        return Check("1 check fails" if len(bad) == 1 else f"{len(bad)} checks fail", BAD, [one.name for one in bad])
    if notes:
        named = notes[0].name if len(notes) == 1 else f"{len(notes)} things"
        return Check(f"{named} to look at", NOTE, [one.name for one in notes])
    return Check("All is well", WELL, [])


def _server(name: str, source: Database | Broker, starts_again: str) -> Check:
    if source.quiet.reason():
        return Check(name, BAD, [source.quiet.reason()], starts_again or TO_DO[name])
    if source.answer_seconds is None:
        return Check(name, UNKNOWN, ["was not asked yet"])
    return Check(name, WELL, [f"answers within {1000 * source.answer_seconds:.1f} ms"])


def _lead(name: str, health: LeadHealth, does: str) -> Check:
    if health.role == "elsewhere":
        return Check(name, WELL, [f"another process {does}"])
    problems = health.problems()
    if problems:
        return Check(name, UNKNOWN if health.role == "starting" else BAD, problems, _hint(problems))
    said = f"this process {does}" if health.role == "leader" else f"another process {does}; this one stands by"
    return Check(name, WELL, [said])


def _quiet(health: QuietHealth) -> Check:
    return Check(_name(health), NOTE, [health.reason()], _hint([health.reason()]))


def _name(health: Health) -> str:
    return NAMES.get(health.part, health.part.replace("_", " ").capitalize())


def _part(health: Health) -> Check:
    name = _name(health)
    problems, notes = health.problems(), health.notes()
    if problems:
        return Check(name, BAD, problems, health.to_do() or _hint(problems))
    work = [f"{what}: {told}" for what, told in health.facts().items()] if health.part in COPIES else []
    if notes:
        return Check(name, NOTE, notes, health.to_do(), LINKS.get(name, ""))
    return Check(name, WELL, work or ["does its work"])


def _examined(console: Console) -> Iterator[Check]:
    examined = console.findings.last
    if examined is None:
        if any(health.part in COPIES for health in console.others):  # where nothing is published, this part is not
            return
        problems = console.findings.problems() or ["nothing was looked at yet"]
        state = BAD if console.findings.problems() else UNKNOWN
        yield Check("Examination", state, problems, _hint(problems))
        return
    groups: dict[str, list[Finding]] = {name: [] for name in ALWAYS}
    for finding in examined.findings:
        groups.setdefault(finding.check, []).append(finding)
    for name, findings in groups.items():
        yield _group(EXAMINED.get(name, name.capitalize()), findings)


def _group(name: str, findings: list[Finding]) -> Check:
    bad = [finding for finding in findings if not finding.is_well]
    if not bad:
        return Check(name, WELL, [finding.text for finding in findings] or ["nothing to see to"])
    state = BAD if any(finding.is_hindrance for finding in bad) else NOTE
    return Check(name, state, [finding.text for finding in bad], TO_DO.get(name, ""), LINKS.get(name, ""))


def _hint(problems: list[str]) -> str:
    """What to do about the server that the sentences name."""
    text = " ".join(problems)
    if "NATS" in text:
        return TO_DO["NATS"]
    return TO_DO["PostgreSQL"] if "database" in text or "PostgreSQL" in text else "Look into the log of this process."
