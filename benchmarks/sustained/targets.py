"""The targets of the sustained rates: ours against each peer, and against what the database does without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from benchmarks.capture.probe import Cpu
from benchmarks.capture.sides import BY_HAND, DEBEZIUM, EVENTS, KEEP_ORDER, LEAST, MQ_BRIDGE, NOBODY, OURS, Side
from benchmarks.harness.bounds import bounded
from benchmarks.harness.measure import Target
from benchmarks.sustained.found import BULK, ONE_ROW, Found

IN_ORDER_TIMES, MQ_BRIDGE_TIMES = 1.4, 0.9
MOST_CPU_TIMES, MOST_P50_TIMES = 1.0, 2.0
MOST_ABOVE_SECONDS = 22.0
"""Of PostgreSQL's processor, for 100,000 events, over bare writes."""
MOST_WAL_BYTES = 900.0
NOT_ASKED, NEVER_STEADY = "it was not asked for", "one of both is steady at no rate"

Everybody = Mapping[Side, Found]
Figure = Callable[[Found], Sequence[float | None]]
"""A figure of one side, by rounds; None where there is none."""


def targets(found: Everybody, missing: Mapping[Side, str]) -> list[Target]:
    """Those of the rates, of what an event costs, and of what is lost."""
    return [*_rates(found, missing), *_costs(found, missing), *_faults(found)]


def _rates(found: Everybody, missing: Mapping[Side, str]) -> Iterator[Target]:
    for peer, at_least in {**dict.fromkeys(KEEP_ORDER, IN_ORDER_TIMES), MQ_BRIDGE: MQ_BRIDGE_TIMES}.items():
        for load in (ONE_ROW, BULK):
            rate = _rate(load)
            yield bounded(
                Target(
                    f"highest steady rate, {load}, against {peer.name}",
                    "times",
                    _times(found, OURS, peer, rate),
                    at_least=at_least,
                    reason=_reason(found, missing, peer),
                ),
                {side.name: _times(found, side, peer, rate) for side in (NOBODY, BY_HAND, EVENTS, LEAST)},
                "the cursor, and waiting for what is acknowledged",
            )


def _costs(found: Everybody, missing: Mapping[Side, str]) -> Iterator[Target]:
    for at, of in {"the even rate": _at_even, "the highest rate": _at_highest}.items():
        whole, postgresql = of(lambda cpu: cpu.whole), of(lambda cpu: cpu.postgresql)
        yield bounded(
            Target(
                f"CPU of all three an event, one row at {at}, against {DEBEZIUM.name}",
                "times",
                _times(found, OURS, DEBEZIUM, whole),
                at_most=MOST_CPU_TIMES,
                reason=_reason(found, missing, DEBEZIUM),
            ),
            {side.name: _times(found, side, DEBEZIUM, whole) for side in (BY_HAND, EVENTS, LEAST)},
            "cursor, fence and acknowledgement",
        )
        yield bounded(
            Target(
                f"PostgreSQL's CPU over bare writes, one row at {at}, 100,000 events",
                "s",
                _above(found, OURS, postgresql),
                at_most=MOST_ABOVE_SECONDS,
                reason=_reason(found, missing, NOBODY),
            ),
            {side.name: _above(found, side, postgresql) for side in (BY_HAND, EVENTS, LEAST)},
            "cursor, marks and what is on disk",
        )
    yield bounded(
        Target(
            f"p50 from COMMIT, against {MQ_BRIDGE.name}",
            "times",
            _times(found, OURS, MQ_BRIDGE, _p50),
            at_most=MOST_P50_TIMES,
            reason=_reason(found, missing, MQ_BRIDGE),
        ),
        {LEAST.name: _times(found, LEAST, MQ_BRIDGE, _p50)},
        "cursor, fence and acknowledgement",
    )
    wal = {side: _median(one.wal_bytes for one in found[side].even) for side in (OURS, EVENTS) if side in found}
    yield bounded(
        Target("WAL of a write", "bytes", wal.get(OURS), at_most=MOST_WAL_BYTES, reason=_reason(found, missing, OURS)),
        {EVENTS.name: wal.get(EVENTS)},
        "what the publisher writes down: the section on WAL has the parts of an event",
    )


def _faults(found: Everybody) -> Iterator[Target]:
    verdicts = [run.verdict for run in found[OURS].runs]
    wrong = sum(verdict.lost + verdict.doubled + verdict.reordered for verdict in verdicts)
    yield Target("lost, doubled or reordered, over kills and without", "", wrong, at_most=0)


def _reason(found: Everybody, missing: Mapping[Side, str], peer: Side) -> str:
    """Why there may be no figure of ours beside the one of a peer."""
    return missing.get(peer) or missing.get(OURS) or (NEVER_STEADY if peer in found else NOT_ASKED)


def _rate(load: str) -> Figure:
    return lambda one: one.rates(load)


def _at_highest(part: Callable[[Cpu], float]) -> Figure:
    return lambda one: one.costs(ONE_ROW, part)


def _at_even(part: Callable[[Cpu], float]) -> Figure:
    return lambda one: [part(each.cpu) for each in one.even]


def _p50(one: Found) -> list[float]:
    return [each.milliseconds(50) for each in one.even]


def _times(found: Everybody, ours: Side, theirs: Side, figure: Figure) -> float | None:
    """The median over the rounds of one side's figure divided by another's; None when one has none."""
    return _median(mine / other for mine, other in _rounds(found, ours, theirs, figure) if other)


def _above(found: Everybody, side: Side, postgresql: Figure) -> float | None:
    """PostgreSQL's seconds of 100,000 rows, of one each transaction, over bare writes; the median over the rounds."""
    return _median((spent - bare) / 10 for spent, bare in _rounds(found, side, NOBODY, postgresql))


def _rounds(found: Everybody, ours: Side, theirs: Side, figure: Figure) -> Iterator[tuple[float, float]]:
    """The figure of both in each round in which both have one."""
    if ours in found and theirs in found:
        for mine, other in zip(figure(found[ours]), figure(found[theirs]), strict=False):
            if mine is not None and other is not None:
                yield mine, other


def _median(values: Iterator[float]) -> float | None:
    every = list(values)
    return median(every) if every else None
