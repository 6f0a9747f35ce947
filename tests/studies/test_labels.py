"""Whatever a study's file names is in the results, although equal work is done once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finished import Finished, finish, open_finished
from shared_folder import shared_folder
from squeezerl.analysis.cells import cells
from squeezerl.analysis.frames import StudyData
from squeezerl.jobs.job import Job, Outcome
from squeezerl.jobs.store import Store
from squeezerl.report.study_report import write_study_report
from squeezerl.studies.results import load_study

pytestmark = pytest.mark.slow

TWICE = """\
name: twice
agents:
  - {path: ppo.zip, env: Pendulum-v1}
  - {path: ppo.zip, env: Pendulum-v1, name: mine}
methods:
  - ptdq
  - ptdq: {name: ptdq-b}
  - ptdq: {naive: true}
  - ptsq: {naive: true}
episodes: 2
measure: {methods: [ptdq, ptdq-b, ptdq-naive], seconds: 0.1, precision: 1}
"""
AGENTS = ["ppo-Pendulum-v1", "ppo-Pendulum-v1-mine"]
MEASURED = ["float", "ptdq", "ptdq-b", "ptdq-naive"]
METHODS = [*MEASURED, "ptsq-naive"]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, small_agent: Path) -> Finished:
    return open_finished(
        shared_folder(tmp_path_factory, "twice", lambda folder: finish(folder, small_agent, TWICE))
    )


@pytest.fixture(scope="module")
def data(twice: Finished) -> StudyData:
    return load_study(twice.store, "twice")


def test_equal_work_is_one_job(twice: Finished) -> None:
    counts = twice.store.counts("twice")
    assert counts.done == counts.total == 4 + (4 + 2) + 1  # compress, evaluate, profile


def test_each_name_is_in_the_returns(data: StudyData) -> None:
    returns = data.returns[data.returns.agent != ""]
    for agent in AGENTS:
        assert sorted(returns[returns.agent == agent].method) == METHODS
    same = returns[returns.method.isin(["ptdq", "ptdq-b"])]
    assert len({tuple(row) for row in same["returns"]}) == 1
    assert same.file_bytes.nunique() == 1
    table = cells(data, np.random.default_rng(0))
    assert len(table) == len(AGENTS) * len(METHODS)


def test_each_measured_name_is_in_the_costs(data: StudyData) -> None:
    for agent in AGENTS:
        costs = data.costs[data.costs.agent == agent]
        assert sorted(costs.method) == MEASURED
        assert costs.latency_s.notna().all()
    same = data.costs[data.costs.method.isin(["ptdq", "ptdq-b"])]
    assert same.latency_s.nunique() == 1


def test_each_name_is_in_the_report(data: StudyData, tmp_path: Path) -> None:
    write_study_report(data, tmp_path / "out")

    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"| {data.methods[method].short} |" in report
    labels = {data.methods[method].label for method in METHODS}
    assert len(labels) == len(METHODS)  # in the legends of figures


def test_measurements_of_earlier_releases_are_still_read(tmp_path: Path) -> None:
    """Their results hold the methods' names."""
    old = Job(kind="profile", version=2, exclusive=True)
    who = {"agent": "a", "algorithm": "ppo", "env_id": "e", "train_seed": None}
    row = {"method": "l1", "ratio": 0.5, "runtime": "ort", "file_bytes": 7, "problem": None}
    with Store.open(f"sqlite:///{tmp_path}/old.db") as store:
        store.put_study("old", {}, [(old, {"role": "profile", **who})])
        claim = store.claim("old", "w", exclusive=True, lease_s=60)
        assert claim is not None
        store.finish(claim, Outcome(content={"rows": [row]}), {"id": "h"}, 1.0)
        costs = load_study(store, "old").costs

    assert costs[["agent", "method", "ratio"]].values.tolist() == [["a", "l1", 0.5]]
