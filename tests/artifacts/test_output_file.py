from __future__ import annotations

import os
from pathlib import Path

import pytest

from squeezerl.artifacts.output import check_file, write_file
from squeezerl.errors import OutputError


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_is_written(tmp_path: Path) -> None:
    write_file(tmp_path / "a.json", b"content")
    assert _files(tmp_path) == {"a.json": b"content"}


def test_what_stood_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"a longer content that was there")
    write_file(tmp_path / "a.json", b"new")
    assert _files(tmp_path) == {"a.json": b"new"}


def test_a_name_alone_is_a_file_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_file(Path("a.json"))
    write_file(Path("a.json"), b"content")
    assert _files(tmp_path) == {"a.json": b"content"}


def test_checking_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(b"precious")
    check_file(tmp_path / "old.json")
    check_file(tmp_path / "new.json")
    assert _files(tmp_path) == {"old.json": b"precious"}


@pytest.mark.parametrize(
    "name",
    ["folder", "missing/a.json", "old.json/a.json", "a" * 300, "missing/" + "a" * 300],
    ids=lambda name: name[:20],
)
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.json").write_bytes(b"precious")
    for act in (check_file, lambda path: write_file(path, b"content")):
        with pytest.raises(OutputError):
            act(tmp_path / name)
    assert _files(tmp_path) == {"old.json": b"precious"}
    assert (tmp_path / "folder").is_dir()


@pytest.mark.parametrize("length", range(236, 256, 3))
def test_a_name_that_may_be_checked_may_be_written(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("a" * length)
    try:
        check_file(path)
    except OutputError:
        with pytest.raises(OutputError):
            write_file(path, b"content")
        assert _files(tmp_path) == {}
    else:
        write_file(path, b"content")
        assert _files(tmp_path) == {path.name: b"content"}


def test_devices_and_pipes_are_spared(tmp_path: Path) -> None:
    # As root, nothing but a check keeps `-o /dev/null` from becoming a file.
    os.mkfifo(tmp_path / "pipe")
    for act in (check_file, lambda path: write_file(path, b"content")):
        with pytest.raises(OutputError, match="exists and is not a file"):
            act(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_existing_file_stays_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    (tmp_path / "a.json").write_bytes(b"precious")
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", half)
    expected = OutputError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected, match="No space" if isinstance(failure, OSError) else None):
        write_file(tmp_path / "a.json", b"content")
    assert _files(tmp_path) == {"a.json": b"precious"}


def test_a_link_to_a_file_spares_the_file(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(b"precious")
    (tmp_path / "link.json").symlink_to("old.json")
    write_file(tmp_path / "link.json", b"new")
    assert _files(tmp_path) == {"old.json": b"precious", "link.json": b"new"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for act in (check_file, lambda path: write_file(path, b"content")):
        with pytest.raises(OutputError, match="cannot be written"):
            act(locked / "a.json")
