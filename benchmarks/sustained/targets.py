"""The targets of the sustained rates: ours against each peer, and against what the database does without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

from benchmarks.capture.sides import BY_HAND, DEBEZIUM, EVENTS, KEEP_ORDER, LEAST, MQ_BRIDGE, NOBODY, OURS, Side
from benchmarks.harness.measure import Target
from benchmarks.sustained.found import BULK, ONE_ROW, Found

MEASURED_NOT = "it was not asked for"


def targets(found: Mapping[Side, Found], missing: Mapping[Side, str]) -> list[Target]:
    """Those of the rates, of what an event costs, and of what is lost."""
    ours = found[OURS]
    judged = []
    for peer, at_least in {**dict.fromkeys(KEEP_ORDER, 1.4), MQ_BRIDGE: 0.9}.items():
        for load in (ONE_ROW, BULK):
            figure = f"highest steady rate, {load}, against {peer.name}"
            reason = missing.get(peer, MEASURED_NOT)
            times = None
            if peer in found:
                times, reason = _rates(ours, found[peer], load), "one of both is steady at no rate"
            bound = _without_us(found, load)
            judged.append(Target(figure, "times", times, at_least=at_least, reason=reason, bound=bound))
    cpu = _even(DEBEZIUM, found, lambda one: one.even.cpu.whole)
    p50 = _even(MQ_BRIDGE, found, lambda one: one.even.milliseconds(50))
    judged += [
        Target(
            f"CPU of all three an event, against {DEBEZIUM.name}",
            "times",
            cpu,
            at_most=1.0,
            reason=missing.get(DEBEZIUM, MEASURED_NOT),
            bound=_over_nobody(found),
        ),
        Target(
            f"p50 from COMMIT, against {MQ_BRIDGE.name}",
            "times",
            p50,
            at_most=2.0,
            reason=missing.get(MQ_BRIDGE, MEASURED_NOT),
            bound=_least(found),
        ),
        Target(
            "PostgreSQL's CPU over bare writes at the highest rate, 100,000 events",
            "s",
            _above(ours, found.get(NOBODY)),
            at_most=22,
            reason="one of both is steady at no rate",
            bound=_over_nobody(found),
        ),
        Target("WAL of a write", "bytes", ours.even.wal_bytes, at_most=900, bound="the event's row: `--only wal`"),
    ]
    verdicts = [one.verdict for one in ours.runs.values() if one.verdict is not None]
    wrong = sum(verdict.lost + verdict.doubled + verdict.reordered for verdict in verdicts)
    judged.append(Target("lost, doubled or reordered, over kills and without", "", wrong, at_most=0))
    return judged


def _rates(ours: Found, theirs: Found, load: str) -> float | None:
    """The median over the rounds that both have; None when one was steady at no rate."""
    rounds = [mine / other for mine, other in zip(ours.rates(load), theirs.rates(load), strict=False) if other]
    return median(rounds) if rounds else None


def _even(peer: Side, found: Mapping[Side, Found], value: Callable[[Found], float], ours: Side = OURS) -> float | None:
    """Ours divided by the peer's at the even rate; None when one was not measured."""
    return value(found[ours]) / value(found[peer]) if ours in found and peer in found else None


def _above(side: Found | None, bare: Found | None) -> float | None:
    """PostgreSQL's seconds of 100,000 rows, of one each transaction, over bare writes; each at its highest rate."""
    spent = [one.cost(ONE_ROW, lambda cpu: cpu.postgresql) if one is not None else None for one in (side, bare)]
    return (spent[0] - spent[1]) / 10 if spent[0] is not None and spent[1] is not None else None


def _without_us(found: Mapping[Side, Found], load: str) -> str:
    """What the same cores write when nobody publishes."""
    sides = [side for side in (NOBODY, BY_HAND, EVENTS) if side in found]
    told = [f"{median(found[side].rates(load)):,.0f} `{side.name}`" for side in sides]
    return f"rows a second that are steady on the same cores, {load}: {', '.join(told)}"


def _over_nobody(found: Mapping[Side, Found]) -> str:
    """Where PostgreSQL's time goes."""
    sides = {side: _above(found.get(side), found.get(NOBODY)) for side in (BY_HAND, EVENTS)}
    told = [f"{above:.1f} `{side.name}`" for side, above in sides.items() if above is not None]
    publishing = found[OURS].cost(ONE_ROW, lambda cpu: cpu.publishing)
    told += [f"{publishing / 10:.1f} the publisher's sessions"] if publishing is not None else []
    return f"PostgreSQL's seconds over bare writes, 100,000 events, each at its highest rate: {', '.join(told)}"


def _least(found: Mapping[Side, Found]) -> str:
    """What a relay that is rung cannot do without."""
    times = _even(MQ_BRIDGE, found, lambda one: one.even.milliseconds(50), LEAST)
    return f"`{LEAST.name}` has {times:.1f} times" if times is not None else ""
