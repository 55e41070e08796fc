"""JetStream's API: how long its answers are waited for, and what one says where nats-py has no call that tells all."""

from __future__ import annotations

from typing import Any

import nats.js.errors
import orjson

from registry.errors import Unavailable

Answer = dict[str, Any]
REQUEST_TIMEOUT_SECONDS = 5.0
"""So long an answer of JetStream is waited for, everywhere."""
REQUEST_ENDED = {("408", "Request Timeout"), ("409", "Batch Completed"), ("409", "Message Size Exceeds MaxBytes")}
"""Status and description that end one request of a pull consumer and nothing else; what it was not served stands in
`Nats-Pending-Messages`."""


def answer_in(data: bytes) -> Answer:
    """The object in an answer. Raises `Unavailable` for what is none, and what nats-py raises for an error."""
    try:
        answer = orjson.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("error", {}), dict):
        raise Unavailable("what answers for JetStream is no nats-server")
    if "error" in answer:
        error = answer["error"]
        told = {name: error.get(name) for name in ("code", "err_code", "description")}
        nats.js.errors.APIError.from_error(told)
    return answer
