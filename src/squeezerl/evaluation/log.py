"""Logs: observations that a robot, a simulator or another program wrote down, in order of time."""

from __future__ import annotations

import csv
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError, SqueezeRLWarning
from squeezerl.network.network import Network, as_float
from squeezerl.records import ObservationsRecord
from squeezerl.runtimes.base import Observations, Sizes

_MOST_BYTES = 2**30
_NAMED = 10  # features in a message
# Names of arrays and columns: "obs", "observations", "observation.state", "obs_12", "action[3]".
_NAMES = {
    "observations": re.compile(r"(obs|observations?)([\W_].*)?", re.IGNORECASE),
    "actions": re.compile(r"(act|actions?)([\W_].*)?", re.IGNORECASE),
}
_EXACT = {
    "observations": ("observations", "observation", "obs"),
    "actions": ("actions", "action", "act"),
}
# Where the parts of a log begin and end, in percent of its rows.
_ENDS = {"fit": (0, 60), "choose": (60, 80), "confirm": (80, 100)}
Part = Literal["fit", "choose", "confirm"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """Observations of a policy at work, one row for each decision, in order of time.

    Args:
        observations: raw, (n, *observation_shape), float32.
        actions: that were recorded with them, (n, ...); `None` if none were.
        origin: as in `ObservationsRecord`.
    """

    observations: Observations
    actions: npt.NDArray[Any] | None = None
    origin: str = "array"

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def record(self) -> ObservationsRecord:
        """Which observations these are."""
        return ObservationsRecord.of(self.observations, self.origin)

    def part(self, name: Part) -> Log:
        """The rows to fit to (the first 60 %), to choose by, or to confirm with (20 % each)."""
        rows = slice(*(len(self) * percent // 100 for percent in _ENDS[name]))
        actions = None if self.actions is None else self.actions[rows]
        return Log(observations=self.observations[rows], actions=actions, origin=self.origin)

    def first_row(self, name: Part) -> int:
        """The row with which a part begins."""
        return len(self) * _ENDS[name][0] // 100

    def fitted_to(self, policy: Sizes) -> Self:
        """The log in the shapes of a policy.

        Raises:
            InvalidArgumentError: if it is not one of such a policy, or holds NaN or infinite
                numbers.
        """
        shapes = {"observations": policy.observation_shape, "actions": policy.action_shape}
        arrays = {"observations": self.observations, "actions": self.actions}
        fitted = {
            name: _finite(_in_shape(array, shapes[name], name, self.origin), name, self.origin)
            for name, array in arrays.items()
            if array is not None
        }
        if len(fitted["observations"]) != len(fitted.get("actions", fitted["observations"])):
            raise InvalidArgumentError(
                f"{self.origin}: {len(fitted['observations']):,} observations and "
                f"{len(fitted['actions']):,} actions; each observation needs one action"
            )
        return type(self)(**fitted, origin=self.origin)


def warn_of_constants(log: Log, network: Network) -> None:
    """Warn of features that the network uses although they never vary in the log.

    Policies in integers hold such a feature at its value, whatever it is later.
    """
    flat = log.observations.reshape(len(log), -1)
    weighed = (as_float(network.layers[0].weight) != 0).any(axis=0)
    constant = np.flatnonzero((flat == flat[0]).all(axis=0) & weighed).tolist()
    if constant:
        more = f" and {len(constant) - _NAMED} more" if len(constant) > _NAMED else ""
        warnings.warn(
            f"{log.origin}: features {', '.join(map(str, constant[:_NAMED]))}{more} (counted from "
            "0) are the same in every row; policies in integers (`int8`, `bits`) take them for "
            "constants, so record a log in which everything varies that will vary later",
            SqueezeRLWarning,
            stacklevel=3,
        )


def rows_for(rows: int, part: Part) -> int:
    """The rows that a log needs so that a part of it has so many."""
    start, end = _ENDS[part]
    return math.ceil(100 * rows / (end - start))


def find_log(given: Log | npt.ArrayLike | str | Path) -> Log:
    """A log from an array or from a file (.npy, .npz, .csv, .parquet).

    Raises:
        InvalidArgumentError: if there are no observations in it.
    """
    if isinstance(given, Log):
        return given
    if isinstance(given, str | Path):
        return read_log(Path(given))
    return Log(observations=as_observations(given))


def read_log(path: str | Path) -> Log:
    """The log in a file; nothing in it is executed.

    A .npy file is an array (n, *observation_shape). In the others, arrays and columns are found by
    their names: `observations`, `observation` or `obs`, or several that begin so and are put side
    by side in the order of the file ("obs_0", "obs_1", "observation.state"); actions likewise. In
    tables without such names, all columns that are not actions are observations; an .npz file may
    also hold one array of any name.

    Raises:
        InvalidArgumentError: if it cannot be read, or is no log.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower(), _read_numpy)
    try:
        _check_size(path.stat().st_size)
        arrays, is_table = reader(path)
        actions = _named(arrays, "actions")
        return Log(
            observations=as_observations(_observations(arrays, is_table)),
            actions=None if actions is None else actions.astype(np.float64, casting="same_kind"),
            origin=path.name,
        )
    except Exception as error:  # a damaged file can make a reader fail in any way
        raise InvalidArgumentError(f"{path}: cannot be read as observations ({error})") from error


def as_observations(values: npt.ArrayLike) -> Observations:
    """Observations (n, *observation_shape) as float32.

    Raises:
        InvalidArgumentError: if they are not numbers of such a shape.
    """
    try:
        array = np.asarray(values)
        with np.errstate(over="ignore"):  # what becomes infinite is refused where it is used
            observations: Observations = array.astype(np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"`observations` must be numbers ({error})") from error
    if observations.ndim < 2:
        raise InvalidArgumentError(
            "`observations` must be an array of the shape (n, *observation_shape), "
            f"not {observations.shape}"
        )
    return observations


def _in_shape(
    array: npt.NDArray[Any], shape: tuple[int, ...], name: str, origin: str
) -> npt.NDArray[Any]:
    """An array (n, ...) as (n, *shape), where each row has as many numbers."""
    if not len(array):
        raise InvalidArgumentError(f"`{name}` ({origin}) have no rows")
    if array.shape[1:] == shape:
        return array
    if array.ndim <= 2 and array.size == len(array) * math.prod(shape):
        return array.reshape(len(array), *shape)
    wanted, advice = ", ".join(map(str, shape)), ""
    if shape and array.ndim > 2 and array.shape[-len(shape) :] == shape:
        advice = f"; `.reshape(-1, {wanted})` puts the rows of several robots below each other"
    raise InvalidArgumentError(
        f"`{name}` ({origin}) have the shape {array.shape}; this policy needs (n, {wanted}){advice}"
    )


def _finite(array: npt.NDArray[Any], name: str, origin: str) -> npt.NDArray[Any]:
    """The array itself, (n, ...), if all of its numbers are finite."""
    flat = array.reshape(len(array), -1)
    wrong = np.argwhere(~np.isfinite(flat))
    if len(wrong):
        row, column = wrong[0]
        raise InvalidArgumentError(
            f"`{name}` ({origin}): number {column} of row {row} is {flat[row, column]}, and "
            f"{len(np.unique(wrong[:, 0])):,} of {len(flat):,} rows hold NaN or infinite numbers; "
            "leave such rows out of the log"
        )
    return array


# By their names; all columns of a table are (n, width).
Arrays = Mapping[str, npt.NDArray[Any]]


def _named(arrays: Arrays, what: str) -> npt.NDArray[Any] | None:
    """The array of that name, or those whose names begin so, side by side."""
    for name in _EXACT[what]:
        if name in arrays:
            return arrays[name]
    found = [array for name, array in arrays.items() if _NAMES[what].fullmatch(name)]
    if not found:
        return None
    return np.concatenate([array.reshape(len(array), -1) for array in found], axis=1)


def _observations(arrays: Arrays, is_table: bool) -> npt.NDArray[Any]:
    found = _named(arrays, "observations")
    if found is not None:
        return found
    rest = [array for name, array in arrays.items() if not _NAMES["actions"].fullmatch(name)]
    if rest and (is_table or len(rest) == 1):
        return rest[0] if len(rest) == 1 else np.concatenate(rest, axis=1)
    there = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    raise ValueError(f"it holds {there or 'nothing'}; call what is observed `observations`")


def _relevant(names: Iterable[str]) -> list[str]:
    """The names of observations and actions, or all if there are none of these."""
    names = list(names)
    found = [name for name in names if any(named.fullmatch(name) for named in _NAMES.values())]
    return found or names


def _read_numpy(path: Path) -> tuple[Arrays, bool]:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return {"observations": found}, False
    with found, zipfile.ZipFile(path) as archive:
        _check_size(sum(member.file_size for member in archive.infolist()))
        return {name: found[name] for name in _relevant(found.files)}, False


def _read_csv(path: Path) -> tuple[Arrays, bool]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file), [])
    try:
        names, skipped = [str(number) for number, _ in enumerate(map(float, first))], 0
    except ValueError:
        names, skipped = [name.strip() for name in first], 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where there are no rows
        rows = np.loadtxt(path, delimiter=",", skiprows=skipped, ndmin=2, encoding="utf-8-sig")
    if rows.shape[1] != len(set(names)):
        raise ValueError(f"{len(names)} names in the first line, {rows.shape[1]} columns below it")
    return dict(zip(names, rows.T[:, :, np.newaxis], strict=True)), True


def _read_parquet(path: Path) -> tuple[Arrays, bool]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet needs pyarrow: pip install 'squeezerl[parquet]'") from None
    file = parquet.ParquetFile(path)
    names = _relevant(file.schema_arrow.names)
    _check_size(8 * file.metadata.num_rows * len(names))
    _check_size(sum(file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)))
    table = file.read(columns=names)
    columns = {name: np.array(table.column(name).to_pylist()) for name in table.column_names}
    return {name: array.reshape(len(array), -1) for name, array in columns.items()}, True


def _check_size(size_bytes: int) -> None:
    if size_bytes > _MOST_BYTES:
        raise ValueError("larger than 1 GiB")


_READERS: dict[str, Callable[[Path], tuple[Arrays, bool]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
