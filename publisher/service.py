"""The service: relay, applier, queries and status page, until a signal or a fault that waiting cannot heal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

from prometheus_client import CollectorRegistry

from publisher import memory
from publisher.agreement.health import AgreementHealth
from publisher.agreement.keeper import Keeper
from publisher.applier.applier import Applier
from publisher.applier.metrics import ApplierMetrics
from publisher.canary import Canary, CanaryHealth
from publisher.doctor import Examination, Findings
from publisher.embedded.supervised import Supervised
from publisher.embedded.watch import ServersHealth, watched
from publisher.gauges.measurement import Gauges, OutboxMeasurement, StreamMeasurement
from publisher.health import Health
from publisher.history.service import HistoryService
from publisher.mirror.follower import Follower
from publisher.mirror.health import MirrorHealth
from publisher.outbox.months import Months
from publisher.outbox.retention import Retention
from publisher.outbox.schema import check_schema
from publisher.part import Part
from publisher.query_service import QueryService
from publisher.relay.metrics import RelayMetrics
from publisher.relay.relay import Relay
from publisher.replica.health import ReplicaHealth
from publisher.replica.watch import ReplicaWatch
from publisher.settings import DatabasePart, Settings
from publisher.web import server, status
from publisher.web.console.application import Application
from publisher.web.console.console import Console
from publisher.web.guard import Guard, known_hosts
from registry.authority import written
from registry.broker.connection import connect_nats
from registry.concurrency.signals import ENDING, ignore_ending, tell_loop
from registry.concurrency.tasks import run_until
from registry.errors import Invalid, Unavailable
from registry.log import log


async def serve(
    settings: Settings,
    *,
    ready: Callable[[str], Awaitable[None] | None] | None = None,
    children: Sequence[Supervised] = (),
    work: Callable[[], Coroutine[object, object, None]] | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or SIGHUP, or until `work` is done where it is given.

    `ready` is called with the status page's URL once every part has settled: events flow, and who asks is answered.
    Servers that are away are waited for in the first second as in the last; of `children`, which this process has
    started, one that dies is started again. Raises `RegistryError` for what that cannot heal.
    """
    as_part = {part: settings.as_part(part) for part in database_parts(settings)}
    memory.give_back()
    memory.collect_as_usual()
    metrics = RelayMetrics()
    applier_metrics = ApplierMetrics(metrics.registry)
    contact = Contact(as_part, Health("start", metrics.registry, consequence="nothing is started: "))
    findings = Findings(metrics.registry)
    parts: list[Part] = []
    if is_copy(settings):
        parts += _copying(as_part["publisher"], as_part["reader"], metrics)
    elif "publisher" in as_part:
        parts += _publishing(as_part["publisher"], as_part["reader"], metrics, findings)
    if "applier" in as_part:
        parts.insert(1, Applier(as_part["applier"], applier_metrics))
        if settings.agreement_nats_url:
            parts.append(Keeper(as_part["applier"], AgreementHealth(metrics.registry)))
    for lead in {metrics, applier_metrics} - {part.health for part in parts}:
        lead.became("elsewhere")
    others = [part.health for part in [contact, *parts] if part.health not in (metrics, applier_metrics)]
    servers = ServersHealth(metrics.registry) if children else None
    if servers is not None:
        others.append(servers)
    with server.bind(settings.http_host, settings.http_port) as listener:
        host, port = listener.getsockname()[:2]
        hosts = known_hosts(settings.http_host, settings.http_hosts)
        console = Console(as_part["reader"], metrics, applier_metrics, findings, others)
        pages = Guard(Application(console), hosts=hosts, style=status.STYLE)
        url = f"http://{written(host, port)}"

        async def announce_url() -> None:
            await contact.settled.wait()
            log.info("listening", http_url=url)

        async def announce_then_work() -> None:
            for part in parts:
                await part.settled.wait()
            log.info("ready", role=metrics.role, http_url=url)
            if ready is not None:
                pending = ready(url)
                if pending is not None:
                    await pending
            if work is not None:
                await work()
                stop.set()

        async def start_parts() -> None:
            await contact.run()
            await run_until(asyncio.Event(), [part.run() for part in parts])

        stop = _stop_on_signals()
        try:
            await run_until(
                stop,
                [
                    start_parts(),
                    server.serve(pages, listener, proxies=settings.http_proxies),
                    *console.work(),
                    announce_url(),
                    announce_then_work(),
                    *([watched(child, servers) for child in children] if servers is not None else []),
                ],
            )
        finally:
            ignore_ending()


def _publishing(settings: Settings, reader: Settings, metrics: RelayMetrics, findings: Findings) -> list[Part]:
    """What sends events, and answers who asks. Raises `Invalid` for times by which publishers would end each other."""
    beats, stale = settings.heartbeat_seconds, settings.stale_seconds
    if 2 * beats > stale:
        raise Invalid(
            f'setting heartbeat_seconds: value "{beats:g}": it must be at most half of stale_seconds, which is '
            f"{stale:g}: a leader would be deposed before it proves that it is alive"
        )
    registry = metrics.registry
    relay = Relay(settings, metrics)
    return [
        relay,
        _queries(reader, registry),
        HistoryService(reader, Health("history", registry, consequence="no replay is answered: ")),
        Retention(settings, Health("retention", registry, consequence="no old event is removed: ")),
        _months(settings, registry),
        Canary(settings, CanaryHealth(registry), after=relay.settled),
        Examination(settings, findings, after=relay.settled),
        OutboxMeasurement(settings, Gauges("outbox_measurement", registry)),
        StreamMeasurement(settings, Gauges("stream_measurement", registry)),
    ]


def is_copy(settings: Settings) -> bool:
    """Whether this registry is written at another site: nothing is published here, and no command is taken."""
    return bool(settings.mirror_nats_url or settings.replica_source_url)


def _copying(settings: Settings, reader: Settings, metrics: RelayMetrics) -> list[Part]:
    """What follows another registry, or watches who does, and answers who asks for what is known of it here."""
    registry = metrics.registry
    if settings.mirror_nats_url and settings.replica_source_url:
        raise Invalid("settings mirror_nats_url and replica_source_url: a registry is a mirror or a replica, not both")
    queries = _queries(reader, registry)
    if settings.replica_source_url:
        return [ReplicaWatch(settings, ReplicaHealth(registry)), queries]
    return [Follower(settings, MirrorHealth(registry)), queries, _months(settings, registry)]


def _queries(reader: Settings, registry: CollectorRegistry) -> QueryService:
    return QueryService(reader, Health("queries", registry, consequence="no query is answered: "))


def _months(settings: Settings, registry: CollectorRegistry) -> Months:
    return Months(settings, Health("months", registry, consequence="no month of activities is made ahead: "))


class Contact(Part):
    """The first contact with both servers: whether they answer, and are those that the settings mean."""

    PASSING = (Unavailable,)

    def __init__(self, as_part: Mapping[DatabasePart, Settings], health: Health) -> None:
        super().__init__(as_part["reader"], health)
        self._urls = {settings.database_url or "" for settings in as_part.values()}

    async def work(self) -> None:
        """Return when parts may start. Raises what waiting cannot heal: another schema, a URL that is none."""
        for url in self._urls:
            await check_schema(url)
        await check_nats(self._settings)
        self.health.well()
        self.settled.set()

    def interrupted(self) -> None:
        """Settled as well: it says what it waits for, and who looks at the status page is told, too."""
        self.settled.set()


def database_parts(settings: Settings) -> list[DatabasePart]:
    """The users of the database whom this process has: it does all, or one of two things, and always shows pages."""
    if is_copy(settings):
        return ["publisher", "reader"]
    if settings.parts == "all":
        return ["publisher", "applier", "reader"]
    return [settings.parts, "reader"]


async def check_nats(settings: Settings) -> None:
    """Raise `Invalid` or `Unavailable` when NATS cannot be reached now."""
    async with connect_nats(settings.nats_url or "", "imi-registry check", settings.nats_access, reconnect=False):
        pass


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in ENDING:
        tell_loop(number, stop.set)
    return stop
