"""No reader of foreign bytes is forgotten: what decodes is run by a reader of the list, or it stands here, and why."""

from __future__ import annotations

from functools import cache

from tests.support.fuzz.readers import READERS
from tests.support.fuzz.sites import Site, decoding, run_by

READ_BEFORE = "another reader has read the same before, and refused what is none"
NOT_FOREIGN = {
    "what PostgreSQL writes as JSON, UTF-8 or a time": {
        *("publisher/history/snapshot.py: _short_lines", "publisher/history/whole.py: _lines_of"),
        *("publisher/history/timeline.py: Change.time", "publisher/history/timeline.py: _data"),
        *("publisher/outbox/rows.py: _whole", "publisher/relay/ages.py: EventAges.observe"),
        "publisher/outbox/doorbell.py: Doorbell._take",
    },
    "a file of `up`, in a folder that it has found to be its owner's alone": {
        *("publisher/embedded/endpoints.py: of_running", "publisher/embedded/place.py: small_text"),
        "publisher/embedded/nats_server.py: _listening_port",
    },
    "what this program wrote itself, here or in a process that it started": {
        *("publisher/embedded/guard.py: main", "publisher/web/console/sources/proof.py: _read"),
        *("publisher/history/archive.py: _write_visible", "publisher/history/snapshot.py: _short_rows"),
        *("registry/broker/permitted.py: PermittedClient.request", "registry/database/migration.py: _refuse_edited"),
        "registry/client/wanted.py: Wanted.__init__",
    },
    READ_BEFORE: {
        *("publisher/cli/terminal/replay.py: _time", "publisher/mirror/batch.py: _with_data"),
        *("registry/broker/connection.py: _Dialer.__init__", "registry/broker/connection.py: _is_of_up"),
        *("registry/broker/silence.py: waits_for_tls", "publisher/mirror/source.py: is_gone"),
    },
    "on the command line of who runs it, by the reader `JSON that is given`, with an error of its own": {
        "publisher/cli/commands.py: send",
    },
    "the event that is looked at, by the reader `JSON`; what is none is shown as it is": {
        "publisher/cli/terminal/event.py: show",
    },
    "nats-server's own time, in an answer that `answer_in` has read": {"publisher/stream/waiting.py: waiting_commands"},
    "the events of the demo's own registry": {"publisher/cli/demo.py: Demo._watch"},
}


@cache
def run_by_readers() -> frozenset[Site]:
    """What runs while each reader reads what is valid for it."""
    found: set[Site] = set()
    for reader in READERS.values():
        for seed in reader.seeds:
            found |= run_by(reader.read, seed, reader.raises)
    return frozenset(found)


def test_what_decodes_is_a_reader_of_the_list_or_is_named_with_a_reason() -> None:
    named = {site for sites in NOT_FOREIGN.values() for site in sites}

    forgotten = {str(site) for site in decoding() - run_by_readers()} - named

    assert not forgotten, f"a reader in tests/support/fuzz, or a reason here, for each of {sorted(forgotten)}"


def test_what_is_named_with_a_reason_decodes_and_no_reader_runs_it() -> None:
    named = {site for sites in NOT_FOREIGN.values() for site in sites}

    assert named <= {str(site) for site in decoding() - run_by_readers()}
