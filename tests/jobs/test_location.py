"""What jobs leave comes back as it was; hostile files are refused."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import stat
import zipfile
from pathlib import Path

import pytest

from squeezerl.errors import ArtifactError, StudyError
from squeezerl.jobs.location import Location, unpack

NOT_THERE = "ab" * 32


def made_folder(path: Path) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "a.bin").write_bytes(bytes(range(256)))
    (path / "inner" / "b.txt").write_text("b", encoding="utf-8")
    (path / "empty").write_bytes(b"")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_folder_comes_back_as_it_was(tmp_path: Path, kind: str) -> None:
    url = str(tmp_path / "there") if kind == "local" else f"memory://{tmp_path.name}"
    location = Location(url, cache=tmp_path / "cache")
    folder = made_folder(tmp_path / "out")

    assert location.lacks([NOT_THERE]) == {NOT_THERE}
    stored = location.put(folder)

    assert stored.bytes > 0
    assert location.lacks([stored.name, NOT_THERE]) == {NOT_THERE}
    assert contents(location.fetch(stored.name)) == contents(folder)
    assert location.fetch(stored.name) == location.fetch(stored.name)


def test_the_same_content_is_one_object(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    folder = made_folder(tmp_path / "out")
    stored = location.put(folder)
    first = contents(tmp_path / "there")

    assert location.put(folder) == stored
    assert list(first) == [f"jobs/{stored.name[:2]}/{stored.name}.zip"]
    assert contents(tmp_path / "there") == first
    assert hashlib.sha256(*first.values()).hexdigest() == stored.name


def test_later_files_do_not_change_earlier_ones(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    folder = made_folder(tmp_path / "out")
    stored, before = location.put(folder), contents(folder)
    (folder / "a.bin").write_bytes(b"other")
    late = location.put(folder)

    assert contents(location.fetch(stored.name)) == before
    assert contents(location.fetch(late.name))["a.bin"] == b"other"


def test_a_replaced_file_is_refused(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    stored = location.put(made_folder(tmp_path / "out"))
    (path,) = (tmp_path / "there").rglob("*.zip")
    path.write_bytes(zip_of({"a.bin": b"of somebody else"}))

    with pytest.raises(ArtifactError, match="not what was stored"):
        location.fetch(stored.name)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["", "a", "../" * 20 + "etc", "A" * 64, "a" * 63 + "/"])
def test_names_that_are_no_hash_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="not a name"):
        Location(str(tmp_path / "there"), cache=tmp_path / "cache").fetch(name)


def test_a_location_goes_to_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    location = Location("there", cache=tmp_path / "cache")
    stored = location.put(made_folder(tmp_path / "out"))
    monkeypatch.chdir("/")

    copy = pickle.loads(pickle.dumps(location))

    assert copy.url == str(tmp_path / "there")
    assert contents(copy.fetch(stored.name)) == contents(tmp_path / "out")


def test_inputs_have_a_folder_of_their_own(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    folder = made_folder(tmp_path / "agent")
    location.put_input("key", folder)
    (folder / "a.bin").unlink()
    location.put_input("key", folder)  # the key is there already

    assert "a.bin" in contents(location.fetch_input("key"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    with pytest.raises(ArtifactError, match="is not there"):
        location.fetch(NOT_THERE)
    with pytest.raises(StudyError, match="nowhere"):
        Location("nowhere://bucket")


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    folder = made_folder(tmp_path / "out")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    os.symlink(tmp_path / "secret", folder / "link")  # noqa: PTH211

    stored = location.put(folder)

    assert "link" not in contents(location.fetch(stored.name))


def zip_of(members: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zip_of({"../out": b"x"}), "leads out"),
        (zip_of({"a/../../out": b"x"}), "leads out"),
        (zip_of({"/out": b"x"}), "leads out"),
        (zip_of({"C:\\out": b"x"}), "leads out"),
        (zip_of({"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), "not a plain file"),
        (zip_of({"bomb": bytes(50 * 2**20)}), "zip bomb"),
        (zip_of({"a": b"x"})[:-10], "damaged"),
        (b"no zip", "damaged"),
        (b"", "damaged"),
    ],
)
def test_hostile_zips_are_refused_and_leave_nothing(
    tmp_path: Path, content: bytes, says: str
) -> None:
    folder = tmp_path / "in" / "here"
    with pytest.raises(ArtifactError, match=says):
        unpack(content, folder, "it")

    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "in" / "out").exists()
    if folder.exists():
        assert not contents(folder)


def test_many_small_files_are_a_bomb_too(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="zip bomb"):
        unpack(zip_of({str(i): b"" for i in range(10_001)}), tmp_path / "a", "it")


def test_a_damaged_object_leaves_no_folder_in_the_cache(tmp_path: Path) -> None:
    location = Location(str(tmp_path / "there"), cache=tmp_path / "cache")
    stored = location.put(made_folder(tmp_path / "out"))
    (path,) = (tmp_path / "there").rglob("*.zip")
    path.write_bytes(path.read_bytes()[:-30])

    with pytest.raises(ArtifactError, match="damaged"):
        location.fetch(stored.name)

    assert not list((tmp_path / "cache").iterdir())
