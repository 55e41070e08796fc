"""What a large block needed goes back to the system, also after a larger one was freed; how often cycles are sought."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# glibc raises its threshold when a mapped block is freed: the next one of that size comes out of the heap.
LARGE_BLOCKS = """
import ctypes
from pathlib import Path
from publisher import memory

{call}
for _ in range(2):
    block = bytearray(8 * 1024 * 1024)
    view = (ctypes.c_char * len(block)).from_buffer(block)
    address = ctypes.addressof(view)
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            print("heap" if line.endswith("[heap]") else "mapped")
    del view, block
"""


def places(call: str) -> list[str]:
    """Where two blocks of 8 MiB are, one after the other, behind `call`."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE_BLOCKS.format(call=call)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="a block is looked up in /proc")
def test_a_large_block_is_mapped_by_itself_after_another_was_freed() -> None:
    if places("pass") != ["mapped", "heap"]:
        pytest.skip("this C library, or its environment, keeps no threshold that grows")
    assert places("memory.give_back()") == ["mapped", "mapped"]


COLLECTING = """
import gc
gc.set_threshold(2000, 5, 0)
from publisher import memory

memory.collect_rarely()
print(gc.get_threshold()[0])
memory.collect_as_usual()
print(gc.get_threshold())
"""


def test_a_service_seeks_cycles_as_often_as_this_version_of_python_does() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["200000", "(2000, 5, 0)"]
