"""The file of an export: which names it may have, when it gets its name, and one that was cut off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard

from publisher.history import archive
from registry.errors import Invalid, Unusable
from tests.support.histories import import_
from tests.support.world import World


@pytest.mark.parametrize("name", ["missing/x", "x.zst"])
async def test_a_file_that_cannot_be_read_is_named(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / "x.zst").write_bytes(b"not zstd")
    with pytest.raises(Invalid, match=f'cannot read ".*{name}"'):
        await import_(world, tmp_path / name)


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    for name in ("", ".", "..", "/", "x"):
        with pytest.raises(Unusable, match=r'^cannot write ".+": it is a folder$'), archive.writing(Path(name)):
            pytest.fail("something could be written")
    assert os.listdir(tmp_path) == ["x"]


def test_a_pipe_or_a_device_is_written_itself_and_a_link_stays(tmp_path: Path) -> None:
    pipe, null, link, file = (tmp_path / name for name in ("pipe", "null", "link", "file"))
    os.mkfifo(pipe)
    null.symlink_to("/dev/null")
    link.symlink_to(file)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for place in (pipe, null, link):
            with archive.writing(place) as write:
                write(b"1\n")
        assert os.read(reader, 10) == b"1\n"
    finally:
        os.close(reader)
    assert (null.is_char_device(), link.is_symlink(), file.read_bytes()) == (True, True, b"1\n")
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "null", "pipe"]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99], ids=["nothing", "a half", "nearly all"])
async def test_a_compressed_file_that_was_cut_off_changes_nothing(world: World, tmp_path: Path, kept: float) -> None:
    whole = zstandard.compress(b"".join(b"%d\n" % number for number in range(10_000)))
    (tmp_path / "x.zst").write_bytes(whole[: int(len(whole) * kept)])

    with archive.reading(tmp_path / "x.zst") as lines, pytest.raises(zstandard.ZstdError, match="too early"):
        list(lines)

    with pytest.raises(Invalid, match=r"not one whole zstd frame|line 1 is no event"):
        await import_(world, tmp_path / "x.zst")


def test_what_follows_a_compressed_history_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.zst").write_bytes(zstandard.compress(b"1\n") + zstandard.compress(b"2\n"))
    with pytest.raises(Invalid, match="something follows it"), archive.reading(tmp_path / "x.zst") as lines:
        list(lines)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.zst"])
def test_an_export_that_ends_early_leaves_the_file_of_before(tmp_path: Path, name: str) -> None:
    file = tmp_path / name

    with archive.writing(file) as write_line:
        write_line(b"before\n")
    with pytest.raises(Invalid, match="stopped"):
        write_and_stop(file)

    with archive.reading(file) as lines:
        assert list(lines) == [b"before\n"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.zst"])
def test_an_export_gets_its_name_once_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = tmp_path / name
    synced: list[bytes] = []

    def sync(_: int) -> None:
        assert not file.exists()
        synced.append((tmp_path / f"{name}.partial").read_bytes())

    monkeypatch.setattr("os.fsync", sync)
    with archive.writing(file) as write_line:
        write_line(b"one\n")

    assert synced == [file.read_bytes()]


def write_and_stop(file: Path) -> None:
    with archive.writing(file) as write_line:
        write_line(b"after\n")
        raise Invalid("stopped")
