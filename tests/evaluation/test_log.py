from __future__ import annotations

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

from small_policies import make_network, with_layer
from squeezerl.errors import InvalidArgumentError, SqueezeRLWarning
from squeezerl.evaluation.log import (
    Log,
    Part,
    as_observations,
    find_log,
    read_log,
    rows_for,
    warn_of_constants,
)
from squeezerl.network.network import as_float

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
    read = read_log(tmp_path / "seen.npy").observations
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, seen)


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", "u1", "i4", "i8", "?"])
def test_other_numbers_become_float32(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "seen.npy", SEEN.astype(dtype))
    read = read_log(tmp_path / "seen.npy").observations
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, SEEN.astype(dtype).astype(np.float32))


def test_any_order_of_memory_will_do(tmp_path: Path) -> None:
    np.save(tmp_path / "seen.npy", np.asfortranarray(SEEN))
    np.testing.assert_array_equal(read_log(tmp_path / "seen.npy").observations, SEEN)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = np.array([[_Trap(tmp_path / "a")], [_Trap(tmp_path / "b")]], dtype=object)
    (tmp_path / "array.npy").write_bytes(_npy(trap, allow_pickle=True))
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(_Trap(tmp_path / "c")))
    before = sorted(tmp_path.iterdir())
    for name in ("array.npy", "plain.npy"):
        with pytest.raises(InvalidArgumentError, match="cannot be read as observations"):
            read_log(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


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
        read_log(path)


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
        read = read_log(path).observations
    except InvalidArgumentError:
        return
    assert read.dtype == np.float32
    assert read.ndim >= 2


@pytest.mark.parametrize("name", ["missing.npy", "", "a" * 300])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        read_log(tmp_path / name)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.npy"
    with path.open("wb") as file:
        file.write(_npy(SEEN))
        file.truncate(2**31)  # takes no space on the disk
    with pytest.raises(InvalidArgumentError, match="larger than 1 GiB"):
        read_log(path)


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

ACTIONS = np.arange(8, dtype=np.float32).reshape(4, 2)
HEADER = "time,obs_0,obs_1,obs_2,action_0,action_1\n"


def _write(path: Path, form: str, arrays: dict[str, Any]) -> Path:
    """A log of columns (n, width) with these names."""
    if form == "npz":
        np.savez(path, **arrays)
    elif form == "csv":
        names = [f"{n}_{i}" for n, a in arrays.items() for i in range(a.shape[1])]
        rows = np.concatenate(list(arrays.values()), axis=1)
        np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = {name: list(array) for name, array in arrays.items()}
        parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("form", ["npz", "csv", "parquet"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_observations_and_actions_are_found_by_their_names(
    tmp_path: Path, form: str, dtype: str
) -> None:
    arrays = {"observations": SEEN.astype(dtype), "actions": ACTIONS, "reward": ACTIONS[:, :1]}
    log = read_log(_write(tmp_path / f"log.{form}", form, arrays))
    np.testing.assert_array_equal(log.observations, SEEN)
    np.testing.assert_array_equal(log.actions, ACTIONS)
    assert (log.observations.dtype, log.origin) == (np.float32, f"log.{form}")


def test_columns_of_one_name_stand_side_by_side_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = np.column_stack([np.arange(4), SEEN, ACTIONS])
    text = HEADER + "\n".join(",".join(map(str, row)) for row in rows) + "\n"
    (tmp_path / "log.csv").write_text(text)
    log = read_log(tmp_path / "log.csv")
    np.testing.assert_array_equal(log.observations, SEEN)
    np.testing.assert_array_equal(log.actions, ACTIONS)
    parts = {"observation.state": SEEN[:, :2], "observation.command": SEEN[:, 2:]}
    log = read_log(_write(tmp_path / "log.parquet", "parquet", parts))
    np.testing.assert_array_equal(log.observations, SEEN)


def test_a_table_without_names_is_all_observations(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "plain.csv", SEEN, delimiter=",")
    (tmp_path / "named.csv").write_text("hip,knee,foot\n" + (tmp_path / "plain.csv").read_text())
    for name in ("plain.csv", "named.csv"):
        log = read_log(tmp_path / name)
        np.testing.assert_array_equal(log.observations, SEEN)
        assert log.actions is None


def test_the_only_array_of_an_archive_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", seen=SEEN)
    np.testing.assert_array_equal(read_log(tmp_path / "one.npz").observations, SEEN)


def test_arrays_that_could_all_be_it_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", robot=SEEN, command=SEEN[:, :1])
    with pytest.raises(InvalidArgumentError, match=r"robot \(4, 3\), command \(4, 1\); call what"):
        read_log(tmp_path / "log.npz")


@pytest.mark.parametrize("content", ["", "a,b\n", "a,b\n1,2,3\n", "1,2\n3,x\n", "a,a\n1,2\n", "\0"])
def test_a_broken_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(InvalidArgumentError, match=r"log\.csv: cannot be read as observations"):
        read_log(tmp_path / "log.csv")


@pytest.mark.slow
def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        zeros = bytes(2**24)
        with archive.open("observations.npy", "w", force_zip64=True) as member:
            for _ in range(65):
                member.write(zeros)
    with pytest.raises(InvalidArgumentError, match="larger than 1 GiB"):
        read_log(tmp_path / "bomb.npz")


NETWORK = make_network(3, 4, 2)


def test_a_log_takes_the_shape_of_the_policy() -> None:
    log = Log(observations=np.zeros((4, 6), np.float32)).fitted_to(
        make_network(6, 4, 2, observation_shape=(3, 2))
    )
    assert log.observations.shape == (4, 3, 2)


def _spoiled(value: float) -> Any:
    seen = SEEN.copy()
    seen[1:3, 2] = value
    return seen


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros((4, 5)), r"\(array\) have the shape \(4, 5\); this policy needs \(n, 3\)"),
        (np.zeros((2, 4, 3)), r"needs \(n, 3\); `.reshape\(-1, 3\)` puts the rows of several"),
        (np.zeros((0, 3)), "have no rows"),
        (_spoiled(np.nan), "number 2 of row 1 is nan, and 2 of 4 rows hold NaN or infinite"),
        (_spoiled(np.inf), "number 2 of row 1 is inf"),
    ],
)
def test_a_log_of_another_policy_is_refused_with_the_reason(
    observations: Any, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        find_log(observations).fitted_to(NETWORK)


def test_actions_must_be_as_many_as_observations() -> None:
    with pytest.raises(InvalidArgumentError, match="4 observations and 3 actions"):
        Log(observations=SEEN, actions=ACTIONS[:3]).fitted_to(NETWORK)


@given(st.integers(1, 3000))
def test_the_parts_are_the_log_in_order_of_time(rows: int) -> None:
    log = Log(observations=np.arange(rows, dtype=np.float32).reshape(-1, 1))
    parts: tuple[Part, ...] = ("fit", "choose", "confirm")
    found = [log.part(name).observations for name in parts]
    np.testing.assert_array_equal(np.concatenate(found), log.observations)
    for name, part in zip(parts, found, strict=True):
        assert not len(part) or part[0, 0] == log.first_row(name)


@given(st.integers(1, 1000))
def test_so_many_rows_leave_enough_to_confirm_with(rows: int) -> None:
    log = Log(observations=np.zeros((rows_for(rows, "confirm"), 1), np.float32))
    assert len(log.part("confirm")) >= rows


def test_features_that_never_vary_are_named(recwarn: pytest.WarningsRecorder) -> None:
    network = make_network(4, 6, 2)
    weight = as_float(network.layers[0].weight).copy()
    weight[:, 3] = 0  # what the policy does not look at may stand still
    network = with_layer(network, 0, weight=weight)
    observations = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    warn_of_constants(Log(observations=observations), network)
    observations[:, [1, 3]] = 0.5
    with pytest.warns(SqueezeRLWarning, match=r"features 1 \(counted from 0\) are the same"):
        warn_of_constants(Log(observations=observations), network)
    assert not [w for w in recwarn if issubclass(w.category, SqueezeRLWarning)]
