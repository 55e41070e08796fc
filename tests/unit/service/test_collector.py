"""The collector of cycles rests while anybody needs it to, and is then as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from registry.concurrency.collector import collector_at_rest


@pytest.fixture(params=[True, False], ids=["collecting", "not collecting"])
def is_collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_the_collector_is_as_it_was_when_blocks_overlap(*, is_collecting: bool) -> None:
    first, second = collector_at_rest(), collector_at_rest()

    with first:
        second.__enter__()
        assert not gc.isenabled()
    assert not gc.isenabled()
    second.__exit__(None, None, None)

    assert gc.isenabled() is is_collecting


def test_the_collector_is_as_it_was_when_a_block_fails(*, is_collecting: bool) -> None:
    with pytest.raises(ValueError, match="no row"), collector_at_rest():
        raise ValueError("no row")

    assert gc.isenabled() is is_collecting
