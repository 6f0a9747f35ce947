"""`load_study`: what a store holds of a study, as the frames that analysis reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from squeezerl.analysis.frames import (
    COSTS_COLUMNS,
    RETURNS_COLUMNS,
    TRAININGS_COLUMNS,
    StudyData,
)

if TYPE_CHECKING:
    import pandas as pd

    from squeezerl.store.records import StoredRow
    from squeezerl.store.store import Store

_WHO = ("agent", "algorithm", "env_id", "train_seed")
_HOW = ("method", "ratio")


def load_study(store: Store, name: str) -> StudyData:
    """The finished jobs of a study.

    Raises:
        StoreError: if there is no such study.
    """
    store.study(name)
    sizes = {
        row.job.id: row.content.get("int8") or row.content
        for row in store.results(name, ("train", "compress"), arrays=False)
    }
    returns = [_return(row, sizes) for row in store.results(name, ("evaluate",))]
    trainings = [_training(row) for row in store.results(name, ("train",))]
    costs = [
        cost for row in store.results(name, ("profile",), arrays=False) for cost in _costs(row)
    ]
    return StudyData(
        name=name,
        returns=_frame(returns, RETURNS_COLUMNS),
        costs=_frame(costs, COSTS_COLUMNS),
        trainings=_frame(trainings, TRAININGS_COLUMNS),
        hosts=store.hosts(),
    )


def _return(row: StoredRow, sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    size = sizes.get(row.job.params["policy"].get("job", ""), {})
    return {
        **{name: row.label[name] for name in (*_WHO, *_HOW)},
        "returns": row.arrays["returns"],
        "lengths": row.arrays["lengths"],
        "first_seed": row.job.params["seed"],
        "file_bytes": size.get("file_bytes"),
        "weight_bytes": size.get("weight_bytes"),
        "host_id": row.host_id,
    }


def _training(row: StoredRow) -> dict[str, Any]:
    return {
        **{name: row.label[name] for name in (*_WHO, *_HOW)},
        "steps": row.content["steps"],
        "seconds": row.content["seconds"],
        "timesteps": row.arrays["timesteps"],
        "evaluations": row.arrays["evaluations"],
        "host_id": row.host_id,
    }


def _costs(row: StoredRow) -> list[dict[str, Any]]:
    who = {name: row.label[name] for name in _WHO}
    return [
        {name: figure.get(name) for name in COSTS_COLUMNS} | who | {"host_id": row.host_id}
        for figure in row.content["rows"]
    ]


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame in which numbers are numbers, and missing ones are not a number."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    texts = ("agent", "algorithm", "env_id", "method", "runtime", "energy_source", "host_id")
    whole = ("first_seed", "steps")
    arrays = ("returns", "lengths", "timesteps", "evaluations")
    objects = (*texts, *whole, *arrays, "energy_estimated")
    for name in columns:
        if name not in objects:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
    return frame
