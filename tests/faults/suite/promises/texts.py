"""What docs/reliability.md says of each promise: why it holds, what attacks it; and what was found."""

from __future__ import annotations

PROMISES = [
    (
        "Every committed change, creation, merge and removal is in the stream, and the outcome of every command: "
        "nothing is lost",
        "[ADR 1](adr/0001-outbox-and-relay.md)",
        "`tests/faults/suite`, `tests/faults/relay`",
        "lost",
    ),
    ("… once", "[ADR 1](adr/0001-outbox-and-relay.md), the fence", "the same", "duplicated"),
    (
        "… in the order of its row, an outcome behind its change",
        "[ADR 1](adr/0001-outbox-and-relay.md), [ADR 5](adr/0005-commands.md)",
        "the same",
        "reordered",
    ),
    (
        "Nothing else is in the stream: no change that was rolled back, or that a crash took back, and no outcome of a "
        "command that nobody sent",
        "[ADR 1](adr/0001-outbox-and-relay.md), what is published is on disk",
        "the same, `tests/faults/relay/test_durability.py`",
        "phantoms",
    ),
    (
        "A replay tells what the stream holds",
        "[ADR 6](adr/0006-history.md)",
        "`tests/faults/suite`, `tests/faults/client`",
        "lost in a replay",
    ),
    (
        "A durable subscriber is told everything, whatever kills it",
        "[ADR 10](adr/0010-durable-subscriptions.md)",
        "the same",
        "lost at the subscriber",
    ),
    (
        "… in the order of its project",
        "[ADR 10](adr/0010-durable-subscriptions.md)",
        "the same",
        "skipped at the subscriber",
    ),
]

OTHERS = [
    (
        "A command is carried out once, with one outcome, whatever is killed",
        "the ledger's row is of the same transaction as the change: [ADR 5](adr/0005-commands.md)",
        "`tests/faults/applier/test_applier.py`, and the suite",
    ),
    (
        "Two publishers never both publish into a stream of the registry's own; of what they send into the shared one "
        "each event is stored once, within its duplicate window",
        "a lock, the epoch of the cursor, and the stream's expected sequence, each for when the one before fails: "
        "[ADR 1](adr/0001-outbox-and-relay.md); there the ids of messages: [ADR 12](adr/0012-shared-stream.md)",
        "`tests/faults/relay/test_zombies.py`, `tests/faults/shared_stream/test_zombies.py`",
    ),
    (
        "What subscribers saw and the database lost is told, and can be taken back",
        "the record of what was published lies in the stream as well: [high-availability.md](high-availability.md)",
        "`tests/faults/relay/test_failover.py`",
    ),
    (
        "A transaction of a million events is told once and in order, though each leader is killed in its midst",
        "a batch is published whole, or found whole by who follows: [ADR 1](adr/0001-outbox-and-relay.md)",
        "`tests/faults/relay/test_large_transactions.py`, with `--long` a million",
    ),
    (
        "A connection to PostgreSQL or NATS that is half-open is given up by each part of the service, which says so "
        "and goes on, and no other part stops; a commit is published though the only publisher's is one",
        "another connection tells whether PostgreSQL works, pings whether NATS is there: "
        "[ADR 23](adr/0023-leadership.md)",
        "`tests/faults/service/test_half_open.py`, `tests/faults/relay/test_connections.py`",
    ),
    (
        "A process that leads and is killed in a flood of events and commands is followed by the other one",
        "the same promises hold for a backlog: [ADR 1](adr/0001-outbox-and-relay.md), [ADR 5](adr/0005-commands.md)",
        "`tests/faults/service/test_takeover_of_backlogs.py`",
    ),
    (
        "A consumer that somebody else deletes, or makes anew, lets a subscriber skip nothing",
        "it is known by its number and its time of creation: [ADR 10](adr/0010-durable-subscriptions.md)",
        "`tests/faults/client/test_strangers.py`, and the suite",
    ),
    (
        "Clocks that jump stop nothing: PostgreSQL's, or that of a service",
        "leads, limits and waits are measured by clocks that do not jump, or by one of PostgreSQL's and no other",
        "`tests/faults/relay/test_clocks.py`, `tests/faults/service/test_clocks.py`, and the suite",
    ),
    (
        "Old and new processes work side by side while a version is replaced",
        "migrations in two phases, compatible by declaration: [ADR 7](adr/0007-migrations.md)",
        "`tests/faults/upgrade/test_rolling_upgrade.py`, `tests/faults/upgrade/test_earlier_code.py`",
    ),
    (
        "A registry is restored elsewhere, to a moment, and its stream goes on",
        "the cursor lies in the database that is restored: [backup.md](backup.md)",
        "`tests/faults/service/test_backup_drill.py`",
    ),
    (
        "One sender of commands keeps no other waiting for more than its turn",
        "lanes by sender, and a limit of messages for each; of bytes by "
        "[a rule](nats.md#one-sender-and-the-bytes-of-the-stream) that deploy/ keeps, and the defaults do not: "
        "[ADR 5](adr/0005-commands.md)",
        "`tests/integration/commands/test_fairness.py`, `tests/integration/deploy/test_nats_floods.py`, "
        "`tests/integration/deploy/test_nats_senders.py`",
    ),
    (
        "HTTP requests that are half-open, slow, endless or without end stop nothing",
        "limits of header, body, connections and time, and one request at a time: [security.md](security.md)",
        "`tests/faults/web/test_half_open_requests.py`, `tests/faults/web/test_flood_of_pages.py`",
    ),
    (
        "Registries that were cut off from each other end at one id for an origin",
        "one key an origin, changed by compare-and-set under a quorum: [ADR 20](adr/0020-agreement.md)",
        "`tests/faults/agreement/test_partition.py`, `tests/faults/agreement/test_killed.py`",
    ),
    (
        "A mirror and a replica are their source, whatever is killed",
        "place and rows change in one transaction: [ADR 17](adr/0017-mirror.md), [ADR 19](adr/0019-replica.md)",
        "`tests/faults/mirror/test_killed.py`, `tests/faults/replica/test_killed.py`",
    ),
]
"""Promises that a test of their own attacks at each change: it fails, or they hold."""

FOUND = """
## What it found

Each was a fault of the product; it is mended, and has a test of its own. None is among the broken promises that are
counted above, in recorded runs alone: it was met in a run that is not recorded, by another test, or broke none of them.

- In a cluster, a consumer whose leader was lost was taken for one that is gone: a durable subscription began anew, with
  new events alone if it had begun so. nats-server names such a consumer beside its list, nats-py leaves that out. (The
  first recorded run met it once, as `handled again` shows.) `tests/faults/client/test_cluster.py`
- What a writer with `synchronous_commit = off` or `local` wrote was published before the synchronous standby had it.
  `tests/faults/relay/test_failover.py`
- Anybody who may connect to PostgreSQL could fill its queue of notifications, and then commits failed of writers whose
  change rang for the publisher. `tests/faults/service/test_full_notification_queue.py`
- A publisher without a standby hung for ever on a connection that stood and carried nothing.
  `tests/faults/relay/test_connections.py`
- A consumer that somebody else made anew, with a later start, let a durable subscription skip events.
  `tests/faults/client/test_strangers.py`
- A publisher that was cut off from NATS alone kept the lead for ever; one that hung as PostgreSQL's clock was set back,
  for as long as it was set back. `tests/faults/suite/takeover.py`, `tests/faults/relay/test_clocks.py`
- A publisher that was ended because it was cut off from NATS led again, sooner than the one that had ended it.
  `tests/faults/relay/test_hindered.py`, `tests/faults/relay/test_strangers.py`
- A reader behind whose consumer more than 64 MiB waited was cut off by nats-server again and again: a subscription to
  large rows, and all commands behind some hundred large ones. `tests/integration/broker/test_large_backlog.py`
- An event that takes back what a failover lost had an id below that of what it takes back.
  `tests/faults/relay/test_failover.py`
- The end of the stream was read by a consumer on a replica that was behind, after all nodes had been killed: events
  that were there were sent again, refused as duplicates, and taken for published without a place in the record, so that
  a rebuild of the stream left them out (three of 232,441). A replay with an end could end short for the same reason.
  `tests/integration/relay/test_event_stream.py`, `tests/integration/client/test_replicas_behind.py`
- A stream of commands that somebody made anew as another one while the service worked ended the service, and with it
  the publisher of events. Now it waits and says so; a service that is started while the stream is another one is
  refused, all its parts, until somebody mends the stream: [ADR 5](adr/0005-commands.md).
  `tests/faults/applier/test_lost_streams.py`
"""

NOT_DONE = """
## What it does not do

- *Turn the clock of a nats-server.* libfaketime replaces libc's clock; nats-server is one static binary of Go, which
  asks the kernel. A time namespace of Linux moves the clocks that count from the start of the machine, not that of
  the day.
- *Cut the last blocks of two nodes at once.* What NATS confirmed, two of three nodes have. Each loss of one is mended
  by the others, one after the other as well, if each has all of it again before the next. When two lose it at once,
  they are the majority, and no R3 stream knows what it confirmed: then the end of the event stream comes back from
  the outbox (as after a power failure: `tests/faults/relay/test_stream_history.py`), and a command that waited there
  is gone: its sender was told no outcome, and sends it again.
- *Let PostgreSQL end a wait for a lock while its clock is set back by hours.* It measures those by the time of day,
  and looks for deadlocks so, too. The suite ends such waits, as an operator would; nothing is lost meanwhile.
"""
