"""A component with OpenTelemetry of its own: sends a command in a span, handles its events, and ends.

`python -m tests.support.tracing.component NATS_URL PREFIX TRACEPARENT`
"""

from __future__ import annotations

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from registry.client import Delivery, RegistryClient, Sending
from registry.concurrency.tasks import end


async def main(nats_url: str, prefix: str, traceparent: str) -> None:
    """Register two projects, the second below `traceparent`, and wait until an event of each was handled."""
    provider = TracerProvider(resource=Resource.create({"service.name": "component"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("component")
    handled: set[str | None] = set()
    failures = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal failures
        if failures == 0:
            failures += 1
            raise ValueError("once")
        with tracer.start_as_current_span("work"):
            handled.add(delivery.project_id)

    async with RegistryClient.connect(nats_url, prefix=prefix, name="component") as client:
        watching = asyncio.create_task(client.subscribe(handle, durable="c", entity="project", from_start=True))
        with tracer.start_as_current_span("request"):
            first = await client.register_project(name="p", remote_origin="git@github.com:a/p.git")
        second = await client.register_project(
            name="q", remote_origin="git@github.com:a/q.git", sending=Sending(traceparent=traceparent)
        )
        async with asyncio.timeout(30):
            while not {str(first), str(second)} <= handled:
                await asyncio.sleep(0.02)
        await end([watching])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
