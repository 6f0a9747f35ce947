"""`load_study`: the results of a study in a store as the frames that analysis reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from squeezerl.analysis.frames import (
    COSTS_COLUMNS,
    RETURNS_COLUMNS,
    TRAININGS_COLUMNS,
    StudyData,
)
from squeezerl.methods.recipe import known_records
from squeezerl.records import MethodRecord

if TYPE_CHECKING:
    import pandas as pd

    from squeezerl.jobs.job import StoredRow
    from squeezerl.jobs.store import Store

_WHO = ("agent", "algorithm", "env_id", "train_seed")
_HOW = ("method", "ratio")


def load_study(store: Store, name: str) -> StudyData:
    """The results of a study's finished jobs, under every name that the study gives them.

    Raises:
        StoreError: if there is no such study.
    """
    store.study(name)
    made = store.results(name, ("train", "compress"), arrays=False)
    sizes = {row.job.id: row.content.get("int8") or row.content for row in made}
    names: dict[str, list[dict[str, Any]]] = {}
    for row in made:
        names.setdefault(row.job.id, []).append(row.label)
    evaluations = store.results(name, ("evaluate",))
    profiles = store.results(name, ("profile",), arrays=False)
    returns = [_return(row, sizes) for row in evaluations]
    trainings = [_training(row) for row in store.results(name, ("train",))]
    costs = [cost for row in profiles for cost in _costs(row, names)]
    used = {row.host_id for row in (*made, *evaluations, *profiles)}
    return StudyData(
        name=name,
        returns=_frame(returns, RETURNS_COLUMNS),
        costs=_frame(costs, COSTS_COLUMNS),
        trainings=_frame(trainings, TRAININGS_COLUMNS),
        hosts={host: facts for host, facts in store.hosts().items() if host in used},
        methods=_methods(evaluations),
    )


def _methods(evaluations: Sequence[StoredRow]) -> dict[str, MethodRecord]:
    """How each method is named and shown: all that are registered, and as the plan noted it."""
    records = [row.label.get("record") for row in evaluations]
    noted = {record["name"]: MethodRecord(**record) for record in records if record is not None}
    return {record.name: record for record in known_records()} | noted


def _return(row: StoredRow, sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    size = sizes.get(row.job.params["policy"].get("job", ""), {})
    return {
        **{name: row.label[name] for name in (*_WHO, *_HOW)},
        "returns": row.arrays["returns"],
        "lengths": row.arrays["lengths"],
        "first_seed": row.job.params["seed"],
        "file_bytes": size.get("file_bytes"),
        "weight_bytes": size.get("weight_bytes"),
        "trained_steps": row.label.get("trained_steps"),
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


def _costs(
    row: StoredRow, names: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The figures of each measured policy, once for each name that the study has for it."""
    who = {name: row.label[name] for name in _WHO}
    costs = []
    for figure in row.content["rows"]:
        labels: Sequence[Mapping[str, Any]] = [figure]  # before version 3, figures had the names
        if "job" in figure:
            labels = [
                label
                for label in names.get(figure["job"], ())
                if all(label[name] == who[name] for name in _WHO)
            ]
        for label in labels:
            how = {name: label[name] for name in _HOW}
            known = {name: figure.get(name) for name in COSTS_COLUMNS}
            costs.append(known | who | how | {"host_id": row.host_id})
    return costs


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame in which numbers have a numeric type and missing ones are NaN."""
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
