"""A collector: receives OTLP over HTTP, as a real one does, and keeps the spans."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Received(NamedTuple):
    """A span as it arrived."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    is_error: bool
    start_ns: int
    end_ns: int


class Collector:
    """What was received so far."""

    def __init__(self) -> None:
        self.url = ""
        self._spans: list[Received] = []
        self._lock = Lock()

    def spans(self, trace_id: str | None = None) -> list[Received]:
        """All spans, or those of one trace, in the order of their starts."""
        with self._lock:
            found = [span for span in self._spans if trace_id in {None, span.trace_id}]
        return sorted(found, key=lambda span: span.start_ns)

    def take(self, body: bytes) -> None:
        """Keep what one request brings."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                service = _texts(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_spans:
                    self._spans += [_received(service, span) for span in scope.spans]


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a port of its own; `url` is what OTEL_EXPORTER_OTLP_ENDPOINT takes."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing: a test reads spans."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _received(service: str, span: Any) -> Received:
    return Received(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _texts(span.attributes),
        span.status.code == 2,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _texts(attributes: Any) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in attributes}
