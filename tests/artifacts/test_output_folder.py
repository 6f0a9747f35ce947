from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from squeezerl.artifacts.output import check_output, new_folder
from squeezerl.errors import OutputError

FAILURES = [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit]


def _tree(folder: Path) -> dict[str, str | None]:
    """Everything below a folder: the text of files, `None` for folders."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _fail_half_way(path: Path, failure: type[BaseException]) -> None:
    with new_folder(path, force=True) as work:
        _write(work / "half.txt", "half")
        raise failure("half way")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """An artifact's folder, as far as `force` looks."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "manifest.json").write_text("precious")
    _write(path / "sub" / "old.txt", "precious")
    return path


FULL = {"manifest.json": "precious", "sub": None, "sub/old.txt": "precious"}


def test_a_folder_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as work:
        (work / "a.txt").write_text("text")
        assert not (tmp_path / "out").exists()
    assert _tree(tmp_path) == {"out": None, "out/a.txt": "text"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as work:
        (work / "a.txt").write_text("text")
    assert _tree(tmp_path) == {"out": None, "out/a.txt": "text"}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure):
        _fail_half_way(tmp_path / "out", failure)
    assert _tree(tmp_path) == {}


def test_a_failure_leaves_no_parents_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half way"):
        _fail_half_way(tmp_path / "a" / "b" / "out", ValueError)
    assert _tree(tmp_path) == {}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_leaves_an_existing_folder_untouched(
    full: Path, failure: type[BaseException]
) -> None:
    before = _tree(full.parent)
    with pytest.raises(failure):
        _fail_half_way(full, failure)
    assert _tree(full.parent) == before


def test_a_killed_process_leaves_an_existing_folder_untouched(full: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "from squeezerl.artifacts.output import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1]), force=True) as work:\n"
        "    (work / 'half.txt').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, full], stderr=subprocess.DEVNULL)
    assert run.returncode < 0
    assert _tree(full) == FULL


def test_an_existing_folder_comes_back_when_the_new_one_cannot_take_its_place(full: Path) -> None:
    before = _tree(full.parent)
    with pytest.raises(OutputError), new_folder(full, force=True) as work:
        work.rmdir()
    assert _tree(full.parent) == before


def test_a_full_folder_is_refused_without_force(full: Path) -> None:
    before = _tree(full.parent)
    with pytest.raises(OutputError, match="`force=True`"), new_folder(full):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="`force=True`"):
        check_output(full, force=False)
    assert _tree(full.parent) == before


def test_force_replaces_the_whole_folder(full: Path) -> None:
    with new_folder(full, force=True) as work:
        (work / "new.txt").write_text("new")
    assert _tree(full.parent) == {"out": None, "out/new.txt": "new"}


def test_force_replaces_artifacts_only(full: Path) -> None:
    (full / "manifest.json").unlink()
    before = _tree(full.parent)
    with pytest.raises(OutputError, match="not an artifact"), new_folder(full, force=True):
        pytest.fail("the block must not run")
    assert _tree(full.parent) == before


def test_force_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out", force=True) as work:
        _write(work / "new.txt", "new")
    assert _tree(tmp_path) == {"out": None, "out/new.txt": "new"}


def test_the_working_directory_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path(), tmp_path):
        with pytest.raises(OutputError, match="inside it"), new_folder(path):
            pytest.fail("the block must not run")
    assert _tree(tmp_path) == {}


def test_force_replaces_a_link_to_a_folder_and_spares_the_folder(full: Path) -> None:
    link = full.parent / "link"
    link.symlink_to(full)
    with new_folder(link, force=True) as work:
        (work / "new.txt").write_text("new")
    assert sorted(p.name for p in full.parent.iterdir()) == ["link", "out"]
    assert _tree(link) == {"new.txt": "new"}
    assert _tree(full) == FULL


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("target", ["empty", "absent"])
def test_a_link_to_nothing_is_no_reason_to_lose_the_work(
    tmp_path: Path, target: str, force: bool
) -> None:
    (tmp_path / "empty").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    worked = False
    try:
        with new_folder(link, force=force) as work:
            worked = True
            _write(work / "new.txt", "new")
    except OutputError:
        assert not worked, "refused only after the work"
    else:
        assert _tree(link) == {"new.txt": "new"}


def test_what_another_process_wrote_in_the_meantime_is_not_replaced_without_force(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out"
    with pytest.raises(OutputError), new_folder(path):
        _write(path / "theirs.txt", "precious")
    assert _tree(tmp_path) == {"out": None, "out/theirs.txt": "precious"}


@pytest.mark.parametrize("force", [True, False])
def test_a_file_is_never_replaced(tmp_path: Path, force: bool) -> None:
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(OutputError, match="not a folder"), new_folder(path, force=force):
        pytest.fail("the block must not run")
    assert _tree(tmp_path) == {"out": "precious"}


@pytest.mark.parametrize("below", ["file/out", "file/deep/out"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / below, force=False)
    with pytest.raises(OutputError, match="cannot be written"), new_folder(tmp_path / below):
        pytest.fail("the block must not run")
    assert _tree(tmp_path) == {"file": "precious"}


def test_checking_changes_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "out", force=False)
    check_output(tmp_path / "out", force=True)
    assert _tree(tmp_path) == {}


def test_checking_makes_no_parents(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "out", force=False)
    assert _tree(tmp_path) == {}
