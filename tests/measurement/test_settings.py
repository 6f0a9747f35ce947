from __future__ import annotations

import dataclasses
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.settings import (
    Settings,
    Workload,
    as_observations,
    read_observations,
)

SEEN = np.arange(12, dtype=np.float32).reshape(4, 3)


class _Trap:
    """Makes a folder if it is ever unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self._folder,)


def _npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    """A .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2), (1, 1), (5, 2, 2, 2)])
def test_what_numpy_saved_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    seen = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "seen.npy", seen)
    read = read_observations(tmp_path / "seen.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, seen)


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", "u1", "i4", "i8", "?"])
def test_other_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "seen.npy", SEEN.astype(dtype))
    read = read_observations(tmp_path / "seen.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, SEEN.astype(dtype).astype(np.float32))


def test_any_order_of_memory_will_do(tmp_path: Path) -> None:
    np.save(tmp_path / "seen.npy", np.asfortranarray(SEEN))
    np.testing.assert_array_equal(read_observations(tmp_path / "seen.npy"), SEEN)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = np.array([[_Trap(tmp_path / "a")], [_Trap(tmp_path / "b")]], dtype=object)
    (tmp_path / "array.npy").write_bytes(_npy(trap, allow_pickle=True))
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(_Trap(tmp_path / "c")))
    before = sorted(tmp_path.iterdir())
    for name in ("array.npy", "plain.npy"):
        with pytest.raises(InvalidArgumentError, match="cannot be read as observations"):
            read_observations(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def _zip_of(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, observations=array)
    return buffer.getvalue()


def _empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 17), }\n"
BROKEN = {
    "empty": b"",
    "text": b"1.0 2.0\n",
    "magic alone": b"\x93NUMPY",
    "truncated": _npy(SEEN)[:-5],
    "without its data": _npy(SEEN)[:128],
    "another version": b"\x93NUMPY\x09\x00" + _npy(SEEN)[8:],
    "an archive": _zip_of(SEEN),
    "an empty archive": _empty_zip(),
    "one number": _npy(np.float32(1.0)),
    "one observation of one number each": _npy(SEEN[0]),
    "complex numbers": _npy(SEEN.astype(np.complex64)),
    "words": _npy(SEEN.astype(str)),
    "dates": _npy(np.zeros((3, 2), "datetime64[s]")),
    "records": _npy(np.zeros((3, 2), [("a", "f4"), ("b", "f4")])),
    "a header that is not Python": _header("{'descr': '<f4', \n"),
    "a header with a call": _header("{'descr': __import__('os').getcwd(), 'shape': (1, 1)}\n"),
    "a deep header": _header("(" * 5000 + "\n"),
    "more than memory holds": _header(HUGE),
    "a negative shape": _header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }\n"),
    "a shape that overflows": _header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n"
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_observations_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "seen.npy"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(InvalidArgumentError, match=r"seen\.npy: cannot be read as observations"):
        read_observations(path)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_npy(SEEN))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    path.write_bytes(content)
    try:
        read = read_observations(path)
    except InvalidArgumentError:
        return
    assert read.dtype == np.float32
    assert read.ndim >= 2


@pytest.mark.parametrize("name", ["missing.npy", "", "a" * 300])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_observations(tmp_path / name)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        file.write(_npy(SEEN))
        file.truncate(2**31)  # takes no space on the disk
    with pytest.raises(InvalidArgumentError, match="larger than 1 GiB"):
        read_observations(path)


@pytest.mark.parametrize("values", [SEEN, SEEN.astype(np.float64), SEEN.tolist(), SEEN.astype(int)])
def test_any_numbers_of_a_program_will_do(values: Any) -> None:
    observations = as_observations(values)
    assert observations.dtype == np.float32
    np.testing.assert_array_equal(observations, SEEN)


@pytest.mark.parametrize(
    "values",
    [1.0, [], [1.0, 2.0], "text", [["a", "b"]], None, [[None]], [[1.0], [1.0, 2.0]], [[1j]]],
)
def test_what_is_no_observations_of_a_program_is_refused(values: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="`observations` must be"):
        as_observations(values)


def test_numbers_too_large_become_infinite_without_a_warning() -> None:
    assert as_observations([[1e300, -1e300]]).tolist() == [[np.inf, -np.inf]]


ROWS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def test_a_workload_knows_its_observations() -> None:
    record = Workload(env_id=None, observations=ROWS).record
    assert record.count == 50
    assert len(record.sha256) == 64
    again = Workload(env_id=None, observations=np.asfortranarray(ROWS)).record
    assert again == record
    assert Workload(env_id=None, observations=ROWS[::-1]).record != record


@given(st.floats(), st.floats())
def test_settings_take_what_they_can_measure_and_nothing_else(
    seconds: float, precision: float
) -> None:
    possible = 0.1 <= seconds <= 60 and 0.001 <= precision <= 1
    try:
        settings = Settings(seconds=seconds, precision=precision)
    except InvalidArgumentError:
        assert not possible
    else:
        assert possible
        assert dataclasses.replace(settings) == settings
