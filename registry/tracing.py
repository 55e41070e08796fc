"""Spans of OpenTelemetry, in a process that has it: a component whose program uses it, a service that was told to.

Nothing is imported here, and a process that has it not pays for a look into a dictionary. Context travels as the W3C
`traceparent` that commands, the outbox and events have.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

NAME = "imi-registry"
"""What the spans are told to be of."""
API = "opentelemetry.trace"

Kind = Literal["client", "producer", "consumer"]


def is_on() -> bool:
    """Whether this process has OpenTelemetry; whether spans are recorded and sent is for its provider to say."""
    return API in sys.modules


class Span:
    """A span that was begun. `end` has to be called."""

    def __init__(self, span: Any, parent: str | None) -> None:
        self._span = span
        self._parent = parent

    @property
    def traceparent(self) -> str | None:
        """The context for what follows; of a span that is none, that of its parent."""
        context = self._span.get_span_context()
        if not context.is_valid:
            return self._parent
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, attributes: Mapping[str, str | int] | None = None, error: str | None = None) -> None:
        """End it; `error` says why it failed."""
        self._span.set_attributes(dict(attributes or {}))
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


def begin(
    name: str, kind: Kind, parent: str | None, attributes: Mapping[str, str | int], start_ns: int | None = None
) -> Span:
    """Begin a span below the context `parent`, or else below the one that is current. Only where `is_on`."""
    from opentelemetry import trace

    tracer = trace.get_tracer(NAME)
    span = tracer.start_span(
        name, _context(parent), kind=trace.SpanKind[kind.upper()], attributes=dict(attributes), start_time=start_ns
    )
    return Span(span, parent)


@contextmanager
def current(name: str, kind: Kind, parent: str | None, attributes: Mapping[str, str | int]) -> Iterator[str | None]:
    """A span that is current in the block, and records what is raised; gives its traceparent. Only where `is_on`."""
    from opentelemetry import trace

    begun = begin(name, kind, parent, attributes)
    with trace.use_span(begun._span, end_on_exit=True):
        yield begun.traceparent


def _context(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})
