"""Every reader of foreign bytes takes them or raises the error it promises, with one line that can be shown."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings

from registry.errors import Invalid, RegistryError
from registry.events import VERSIONS, parse
from registry.events.envelope import attributes_of
from registry.queries import QUERIES
from tests.support.fuzz.mutations import foreign, mutated
from tests.support.fuzz.reader import ENVELOPE, EVENTS, ID, Reader
from tests.support.fuzz.readers import READERS

SHORT, LONG = 100, 100_000
"""Messages for each reader."""
MOST_CHARACTERS = 5_000


def check(reader: Reader, data: bytes) -> None:
    """Read `data`: what is raised is what was promised, and can be shown on one line to anybody."""
    try:
        reader.read(data)
    except reader.raises as error:
        said = str(error) if isinstance(error, RegistryError) else ""
    else:
        return
    assert "\n" not in said
    assert len(said) < MOST_CHARACTERS
    assert "s3cret" not in said


@pytest.mark.parametrize("name", READERS)
def test_a_reader_raises_what_it_promises_and_nothing_else(name: str) -> None:
    @settings(max_examples=SHORT, deadline=None, suppress_health_check=list(HealthCheck))
    @given(foreign(READERS[name].seeds))
    def attempt(data: bytes) -> None:
        check(READERS[name], data)

    attempt()


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_a_reader_raises_what_it_promises_over_many_more(name: str) -> None:
    for number in range(LONG):
        data = mutated(Random(number), READERS[name].seeds)
        try:
            check(READERS[name], data)
        except BaseException as error:
            error.add_note(f"message {number}: {data[:2000]!r}")
            raise


@pytest.mark.parametrize("name", READERS)
def test_the_seeds_are_valid_or_refused_as_promised(name: str) -> None:
    for seed in READERS[name].seeds:
        check(READERS[name], seed)


def test_seeds_of_events_and_queries_are_read() -> None:
    assert {parse(seed).name for seed in EVENTS} == set(VERSIONS)
    assert set(READERS) >= {f"query {name}" for name in QUERIES}


def test_what_a_library_says_of_a_value_is_one_short_line() -> None:
    time = "[" * 3000
    with pytest.raises(Invalid) as of_time:
        attributes_of(json.dumps(ENVELOPE | {"type": "imi.worktree.merged.v1", "data": {}, "time": time}).encode())
    with pytest.raises(Invalid) as of_id:
        parse(EVENTS[0].replace(ID.encode(), b"\\n", 1))
    for said in (str(of_time.value), str(of_id.value)):
        assert "\n" not in said
        assert len(said) < 600
