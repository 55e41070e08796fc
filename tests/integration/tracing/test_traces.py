"""One trace from a writer to the handlers of its events, over processes; and nothing of it where it is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from publisher.tracing import is_wanted
from tests.support.processes import environment, run
from tests.support.relay_process import RelayProcess
from tests.support.services import wait_until
from tests.support.tracing.collector import Collector, Received, collector
from tests.support.world import World

TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
CLOSED = "http://127.0.0.1:1"


@pytest.fixture
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture
def service(world: World, collected: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[RelayProcess]:
    for name, value in (QUICK | {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url}).items():
        monkeypatch.setenv(name, value)
    with world.process() as process:
        yield process


def named(spans: list[Received], name: str) -> list[Received]:
    return [span for span in spans if span.name == name]


async def test_a_command_its_outcome_its_events_and_their_handlers_are_one_trace(
    world: World, collected: Collector, service: RelayProcess
) -> None:
    await service.ready()
    traceparent = f"00-{OTHER}-b7ad6b7169203331-01"
    component = [sys.executable, "-m", "tests.support.tracing.component", world.nats_url, world.prefix, traceparent]
    done = await asyncio.to_thread(
        subprocess.run,
        component,
        env=environment(OTEL_EXPORTER_OTLP_ENDPOINT=collected.url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    (request,) = named(collected.spans(), "request")
    stream = world.stream
    wait_until(lambda: len(named(collected.spans(request.trace_id), f"publish {stream}")) == 2)
    spans = collected.spans(request.trace_id)
    # command: request -> send -> apply -> outcome
    (send,) = named(spans, "send project.register")
    (apply,) = named(spans, "apply project.register")
    assert (send.service, send.parent_id) == ("component", request.span_id)
    assert (apply.service, apply.parent_id) == ("imi-registry", send.span_id)
    assert apply.attributes["imi.verdict"] == "applied"
    assert send.start_ns <= apply.start_ns <= send.end_ns  # the outcome is sent before `apply` ends
    # events: apply -> publish and process -> what the handler does
    published = named(spans, f"publish {stream}")
    assert {span.parent_id for span in published} == {apply.span_id}
    subjects = {span.attributes["messaging.destination.name"].split(".")[3] for span in published}
    assert subjects == {"project", "command"}
    processed = named(spans, f"process {stream}")
    assert {span.parent_id for span in processed} == {apply.span_id}
    assert [span.is_error for span in processed] == [True, False]  # the first try failed
    (work,) = named(spans, "work")
    assert work.parent_id == processed[1].span_id
    # the command that said what it belongs to
    assert {span.name for span in collected.spans(OTHER)} >= {"send project.register", "apply project.register", "work"}
    assert world.rows("SELECT DISTINCT substring(traceparent FROM 4 FOR 32) FROM outbox ORDER BY 1") == sorted(
        [(OTHER,), (request.trace_id,)]
    )


async def test_plain_sql_that_says_what_it_belongs_to_is_continued_and_what_is_not_sampled_is_not(
    world: World, collected: Collector, service: RelayProcess
) -> None:
    await service.ready()
    with psycopg.connect(world.database) as conn:
        for number, (trace, flags) in enumerate([(OTHER, "00"), (TRACE, "01")]):
            traceparent = f"00-{trace}-00f067aa0ba902b7-{flags}"
            conn.execute("SELECT set_config('imi.traceparent', %s, true)", [traceparent])
            conn.execute("SELECT register_project('p', %s)", [f"git@github.com:a/p{number}.git"])
            conn.commit()
    wait_until(lambda: collected.spans(TRACE))
    (published,) = collected.spans(TRACE)
    assert (published.name, published.parent_id) == (f"publish {world.stream}", "00f067aa0ba902b7")
    assert published.attributes["messaging.message.id"] == (await world.published())[1].envelope["id"]
    assert collected.spans(OTHER) == []


async def test_a_collector_that_is_away_changes_nothing_and_is_told_a_few_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (QUICK | {"OTEL_EXPORTER_OTLP_ENDPOINT": CLOSED}).items():
        monkeypatch.setenv(name, value)
    with world.process() as process:
        await process.ready()
        with psycopg.connect(world.database, autocommit=True) as conn:
            for number in range(20):
                conn.execute("SELECT set_config('imi.traceparent', %s, false)", [f"00-{TRACE}-00f067aa0ba902b7-01"])
                conn.execute("SELECT register_project('p', %s)", [f"git@github.com:a/p{number}.git"])
        await world.drained()
        await process.until_logged("tracing interrupted")
        process.stop()
        assert await process.exit_code(20) == 0
        assert len(process.logged("tracing interrupted")) <= 3
        assert {line["event"] for line in process.log() if line["level"] == "warning"} == {"tracing interrupted"}


def test_an_exporter_that_is_not_there_is_named(world: World) -> None:
    done = run(
        "serve", DATABASE_URL=world.database, NATS_URL=world.nats_url, OTEL_TRACES_EXPORTER="zipkin", IMI_PREFIX="t"
    )
    assert done.returncode == 1
    assert 'there is no exporter of traces "zipkin"; install imi-registry[otel]' in done.stderr


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": CLOSED}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": CLOSED}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": CLOSED}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": CLOSED}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_SERVICE_NAME": "x"}, False),
    ],
    ids=str,
)
def test_the_standard_variables_switch_it_on_and_off(variables: dict[str, str], wanted: bool) -> None:
    assert is_wanted(variables) is wanted


def test_where_it_is_off_nothing_of_it_is_imported(world: World) -> None:
    """A service that publishes, a client that sends and one that handles, in one process."""
    script = """
import asyncio, sys
from publisher import tracing
from publisher.settings import load
from publisher.service import serve
from registry.client import RegistryClient

async def work():
    handled = asyncio.Event()
    async def handle(delivery):
        handled.set()
    async with RegistryClient.connect(settings.nats_url, prefix=settings.prefix) as client:
        watching = asyncio.create_task(client.subscribe(handle, durable="d", from_start=True))
        await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        async with asyncio.timeout(30):
            await handled.wait()
        watching.cancel()
    print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "google")])

settings = load()
with tracing.started():
    asyncio.run(serve(settings, work=work))
"""
    variables = {"DATABASE_URL": world.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(**variables), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done
