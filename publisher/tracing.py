"""Tracing of a service: started when the variables of OpenTelemetry ask for it, and not even imported otherwise."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from threading import Thread
from typing import Any

from registry.concurrency.outage import Outage
from registry.errors import Unavailable, Unusable
from registry.log import log
from registry.tracing import NAME

ASKS = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
ENDING_SECONDS = 3.0
"""How long the end of a service waits for the last spans to be sent."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_none = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return not is_disabled and not is_none and any(environment.get(name, "").strip() for name in ASKS)


@contextmanager
def started() -> Iterator[None]:
    """Send traces in the block where the environment asks for it. Raises `Unusable` for what is not there."""
    if not is_wanted(os.environ):
        yield
        return
    provider = _provider(os.environ)
    try:
        yield
    finally:
        ending = Thread(target=provider.shutdown, daemon=True)  # a collector that is away has retries of its own
        ending.start()
        ending.join(ENDING_SECONDS)


def _provider(environment: Mapping[str, str]) -> Any:
    """Make the provider of this process, as the variables say."""
    exporter = _exporter(environment)
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    is_named = "service.name" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "") or environment.get("OTEL_SERVICE_NAME")
    provider = TracerProvider(resource=Resource.create({} if is_named else {"service.name": NAME}))
    _log_quietly()
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    trace.set_tracer_provider(provider)
    log.info("tracing", exporter=exporter.__name__)
    return provider


def _exporter(environment: Mapping[str, str]) -> Any:
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    if name == "otlp":
        protocol = next((value for one in PROTOCOLS if (value := environment.get(one, "").strip())), "http/protobuf")
        name = EXPORTERS.get(protocol, protocol)
    for found in entry_points(group="opentelemetry_traces_exporter", name=name):
        try:
            return found.load()
        except ImportError:
            break
    raise Unusable(
        f'OpenTelemetry: there is no exporter of traces "{name}"; install imi-registry[otel], or what has it, or '
        "unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_ENDPOINT"
    )


class _Quiet(logging.Handler):
    """What OpenTelemetry says of a collector that is away, as of any other server: ever less often."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._outage = Outage("tracing")

    def emit(self, record: logging.LogRecord) -> None:
        self._outage.failed(Unavailable(record.getMessage()))


def _log_quietly() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(_Quiet())
