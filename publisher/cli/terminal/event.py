"""One event with all that is known of it, on the terminal or as JSON."""

from __future__ import annotations

import orjson

from publisher.cli.arguments.times import printed
from publisher.cli.terminal.text import emit_document, write
from registry import exact
from registry.client.lookup import FoundEvent


def show(found: FoundEvent, stream: str, *, as_json: bool) -> None:
    """Print where an event is, the headers of its message, and its whole envelope."""
    try:
        document = exact.loads(found.payload)
        problem = None
    except ValueError as error:
        document, problem = found.payload.decode(errors="backslashreplace"), error
    if as_json:
        place = {
            "sequence": found.position.sequence,
            "position": str(found.position),
            "stream": stream,
            "in_stream": found.headers is not None,
            "stored_at": found.stored_at,
            "subject": found.subject,
            "headers": found.headers,
            "event": document if problem else orjson.Fragment(found.payload),
        }
        emit_document(orjson.dumps(place).decode())
        return
    if found.stored_at is None:
        kept = "only by the publisher: the stream no longer holds it"
    else:
        kept = f"in the stream since {printed(found.stored_at, 'milliseconds')}"
    write(f"sequence  {found.position.sequence} of stream {stream}; what came after it: --after {found.position}")
    write(f"kept      {kept}")
    write(f"subject   {found.subject}")
    for name, value in (found.headers or {}).items():
        write(f"header    {name}: {value}")
    if problem:
        write(f"payload   cannot be read: {problem}")
    text = document if problem else exact.dumps(document, indent=True).decode()  # every digit, as in that of --json
    for line in text.split("\n"):
        write(line)
