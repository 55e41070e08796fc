"""What ends a part of the service, and what does not."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pytest
from prometheus_client import CollectorRegistry

from publisher import service
from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import Keeper
from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.doctor import Findings
from publisher.health import Health
from publisher.mirror.follower import Follower
from publisher.mirror.renewal import OtherSource
from publisher.part import Part
from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from publisher.replica.watch import ReplicaWatch
from publisher.settings import Settings, load
from publisher.web.console.action_log import ActionLog
from publisher.web.console.sources.broker import Broker
from publisher.web.console.sources.database import Database
from publisher.web.console.sources.feed import Feed
from publisher.web.console.sources.health import QuietHealth
from publisher.web.console.sources.samples import Samples
from publisher.web.status import problems_and_notes
from registry.concurrency import backoff
from registry.concurrency.tasks import end
from registry.errors import Conflict, Invalid, RegistryError, Unavailable, Unprepared

T = TypeVar("T")

CARRYING: set[type[Part]] = {service.Contact, Relay, Applier, Follower, ReplicaWatch}
"""What a service is there for, and its beginning: an error may end it. All other parts look, or serve on the side."""


def kinds_of(base: type[T]) -> list[type[T]]:
    """What is derived from a class in the project, and of that again."""
    found = [kind for derived in base.__subclasses__() for kind in (derived, *kinds_of(derived))]
    return [kind for kind in found if kind.__module__.startswith(("publisher.", "registry."))]


ERRORS = [RegistryError, *kinds_of(RegistryError)]
PARTS = [kind for kind in kinds_of(Part) if not kind.__name__.startswith("_")]


def given(**settings: object) -> Settings:
    return load(database_url="postgresql://localhost/x", nats_url="nats://localhost", **settings)


def publishing(**settings: object) -> list[Part]:
    metrics = RelayMetrics()
    return service._publishing(given(**settings), given(), metrics, Findings(metrics.registry))


def made(kind: type[Part]) -> Part:
    """One of this kind, as a service has it."""
    settings, registry = given(), CollectorRegistry()
    mirror, replica = given(mirror_nats_url="nats://x"), given(replica_source_url="postgresql://localhost/y")
    parts = [
        service.Contact({"reader": settings}, Health("start", registry)),
        *publishing(),
        *service._copying(mirror, mirror, RelayMetrics()),
        *service._copying(replica, replica, RelayMetrics()),
        Applier(settings, ApplierMetrics(registry)),
        Keeper(settings, AgreementHealth(registry)),
        broker := Broker(settings, registry),
        database := Database(settings, registry),
        Feed(settings, database, registry),
        Samples(settings, RelayMetrics(), database, registry),
        ActionLog(settings, broker, registry),
    ]
    return next(part for part in parts if type(part) is kind)


def error_of(kind: type[RegistryError]) -> RegistryError:
    return kind.__new__(kind, f"why it is {kind.__name__}")  # whatever else it is made of


class Flaky(Part):
    """Fails with each of `errors`, then works. Waits for servers alone."""

    PASSING = (Unavailable,)

    def __init__(self, *errors: Exception) -> None:
        settings = load(database_url="postgresql://localhost/x", nats_url="nats://localhost")
        super().__init__(settings, Health("flaky", CollectorRegistry()))
        self._errors = list(errors)
        self.problems: list[list[str]] = []

    async def work(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.health.well()
        self.settled.set()
        await asyncio.Event().wait()

    def interrupted(self) -> None:
        self.problems.append(self.health.problems())


async def test_a_part_waits_for_servers_and_outlives_its_bugs() -> None:
    away, lacking = Unavailable("away"), Unprepared("no right")
    part = Flaky(away, ExceptionGroup("of its tasks", [lacking]), ValueError("a bug"), TimeoutError())

    task = asyncio.create_task(part.run())
    async with asyncio.timeout(5):
        await part.settled.wait()
    assert part.problems == [
        ["away"],
        ["no right"],
        ["the flaky failed, see the log: ValueError: a bug"],
        ["the flaky failed, see the log: TimeoutError"],
    ]
    assert part.health.problems() == []
    assert (part.health.interrupted, part.health.crashed) == (2, 2)
    assert part.health.registry.get_sample_value("imi_flaky_crashes_total") == 2
    await end([task])
    assert task.cancelled()


async def test_a_part_that_carries_the_service_ends_with_what_waiting_cannot_heal() -> None:
    part = Flaky(ExceptionGroup("of its tasks", [Conflict("another stream")]))

    with pytest.raises(Conflict, match="another stream"):
        await part.run()
    assert part.health.crashed == 0


@pytest.mark.parametrize("kind", [kind for kind in PARTS if kind not in CARRYING])
async def test_a_part_that_looks_or_serves_on_the_side_goes_on_after_every_error_and_tells_it(
    kind: type[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "RETRY_SECONDS", (0.0, 0.0))
    part, left = made(kind), [error_of(error) for error in ERRORS]
    works, told = asyncio.Event(), list[str]()

    async def work() -> None:
        if left:
            raise left[0]
        works.set()
        await asyncio.Event().wait()

    def interrupted() -> None:
        said = [*part.health.problems(), *part.health.notes()]
        said += [part.health.reason()] if isinstance(part.health, QuietHealth) else []
        told.extend(text for text in said if str(left[0]) in text)
        del left[0]

    monkeypatch.setattr(part, "work", work)
    monkeypatch.setattr(part, "interrupted", interrupted)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(part.run())
        await works.wait()
        await end([running])
    assert len(told) == part.health.interrupted == len(ERRORS)
    assert part.health.crashed == 0


@pytest.mark.parametrize("kind", [Follower, ReplicaWatch])
def test_who_follows_another_registry_ends_over_a_database_that_is_no_copy_and_over_nothing_else(
    kind: type[Part],
) -> None:
    part = made(kind)
    passing = {error for error in ERRORS if part.is_passing(error_of(error))}
    expected = {error for error in ERRORS if not issubclass(error, Conflict)}
    assert passing == expected | ({OtherSource} if kind is Follower else set())
    assert not part.is_passing(ValueError("a bug"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mirror_nats_url": "x"},
        {"mirror_nats_url": "nats://x", "mirror_nats_creds": "/nowhere"},
        {"mirror_nats_url": "nats://x", "profile": "bloodbank"},
        {"replica_source_url": "http://x"},
        {"replica_source_url": "postgresql://db..example/x"},
    ],
)
def test_a_setting_with_which_no_source_is_followed_ends_a_copy_at_its_start(wrong: dict[str, str]) -> None:
    settings = given(**wrong)
    with pytest.raises(Invalid):
        service._copying(settings, settings, RelayMetrics())


@pytest.mark.parametrize("beats", [1.1, 3600])
def test_times_by_which_publishers_would_end_each_other_are_refused_at_the_start(beats: float) -> None:
    with pytest.raises(Invalid, match=f'setting heartbeat_seconds: value "{beats:g}": it must be at most half of'):
        publishing(heartbeat_seconds=beats)
    assert publishing(heartbeat_seconds=beats, stale_seconds=2 * beats)


def test_what_is_told_of_a_part_is_text_for_a_page_and_for_a_terminal() -> None:
    health = Health("flaky", CollectorRegistry())
    health.failed(Unavailable("held by <b>\x1b[2J\u202e, postgresql://u:s3cret@h/d"))
    problems, _ = problems_and_notes([health])
    assert problems[0].endswith(r"held by <b>\x1b[2J\u202e, postgresql://***@h/d")
