"""A sender with many commands does not keep another one waiting behind all of them."""

from __future__ import annotations

import psycopg
import pytest

from publisher.settings import load
from registry.client import RegistryClient
from registry.commands.catalogue import COMMANDS
from registry.errors import Busy
from tests.support.commands import envelope
from tests.support.world import World

FLOOD = 200
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON projects FOR EACH ROW WHEN (NEW.name = 'slow') EXECUTE FUNCTION slow();
"""
PLACE = """
SELECT place
FROM (
    SELECT row_number() OVER (ORDER BY o.id) AS place, l.result ->> 'project_id' AS project_id
    FROM outbox o JOIN command_ledger l ON l.command_id = o.entity_id
    WHERE o.entity = 'command'
) AS told
JOIN projects p ON p.id::text = told.project_id
WHERE p.name = 'quick'
"""


@pytest.mark.parametrize("known", [True, False], ids=["by subject", "by source"])
async def test_a_sender_of_one_command_is_served_beside_one_who_floods(world: World, known: bool) -> None:
    async with world.applier():
        with psycopg.connect(world.database) as conn:
            conn.execute(SLOW)
    stream = world.nats.jetstream()
    for number in range(FLOOD + 1):
        name, sender = ("slow", "flood") if number < FLOOD else ("quick", "late")
        data = {"name": name, "remote_origin": f"git@github.com:o/p{number}.git"}
        subject = world.names.commands.command_subject("project.register", sender if known else None)
        await stream.publish(subject, envelope("project.register", data, source=f"urn:{'same' if known else sender}"))
    async with world.applier():
        await world.commands_done(60)
    ((place,),) = world.rows(PLACE)
    assert place < FLOOD / 2, "of 201, in the order in which they were carried out"


def test_by_default_one_sender_of_every_kind_leaves_a_quarter_of_the_messages_to_others_and_no_byte() -> None:
    """Of bytes a server has no limit for a sender: docs/nats.md says what a sender of large commands does."""
    limits = load()
    assert limits.commands_max_per_sender * len(COMMANDS) < limits.commands_max_messages * 3 / 4
    assert limits.command_max_bytes * 64 == limits.commands_max_bytes


async def test_a_sender_has_a_limit_where_nobody_set_one(world: World) -> None:
    async with world.applier():
        config = (await world.nats.jetstream().stream_info(world.names.commands.stream)).config
    assert (config.max_msgs_per_subject, config.discard_new_per_subject) == (load().commands_max_per_sender, True)


async def test_a_sender_who_has_enough_waiting_is_busy_and_others_are_not(world: World) -> None:
    limited = {"commands_max_per_sender": 2}
    async with world.applier(commands_max_per_sender=0):
        pass  # a stream without that limit
    async with world.applier(**limited):
        pass  # it has it now
    async with (
        RegistryClient.connect(world.nats_url, prefix=world.prefix, sender="flood") as flood,
        RegistryClient.connect(world.nats_url, prefix=world.prefix, sender="late") as late,
    ):
        for number in range(2):
            await flood.post("project.register", project(number))
        with pytest.raises(Busy):
            await flood.post("project.register", project(2))
        await late.post("project.register", project(3))
    async with world.applier(**limited):
        await world.commands_done()
    assert world.rows("SELECT count(*) FROM projects") == [(3,)]
    async with world.applier(commands_max_per_sender=0):
        config = (await world.nats.jetstream().stream_info(world.names.commands.stream)).config
    assert (config.max_msgs_per_subject, config.discard_new_per_subject) == (-1, False)


def project(number: int) -> dict[str, str]:
    return {"name": "p", "remote_origin": f"git@github.com:o/p{number}.git"}
