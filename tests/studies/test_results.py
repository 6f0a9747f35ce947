"""What is in the store comes out as the frames that analysis reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finished import Finished
from squeezerl.analysis.cells import cells
from squeezerl.errors import StoreError
from squeezerl.jobs.job import Job, Outcome
from squeezerl.jobs.store import Store
from squeezerl.studies.results import load_study

pytestmark = pytest.mark.slow


def test_all_policies_are_there_with_their_episodes_and_sizes(finished: Finished) -> None:
    data = load_study(finished.store, "finished")
    returns = data.returns

    assert len(returns) == 2 * 2 + 5 + 7  # two references per environment, two agents
    assert set(returns["first_seed"]) == {11}
    assert all(len(row) == 3 for row in returns["returns"])
    assert all(len(row) == 3 for row in returns["lengths"])
    sized = returns[returns["agent"] != ""]
    assert (sized["file_bytes"] > sized["weight_bytes"]).all()
    assert returns[returns["method"] == "random"]["file_bytes"].isna().all()
    assert set(returns[returns["agent"] == "ppo-Pendulum-v1"]["train_seed"].isna()) == {True}
    assert set(returns[returns["agent"] == "ppo-CartPole-v1"]["train_seed"]) == {0}


def test_costs_and_trainings_are_there(finished: Finished) -> None:
    data = load_study(finished.store, "finished")

    assert list(data.costs["method"]) == ["float", "l2"] * 2
    assert data.costs["latency_s"].notna().all()
    assert data.costs["ratio"].dtype == np.float64
    assert sorted(data.trainings["method"]) == ["float", "qat", "ticket-random"]
    assert all(curve.shape == (2, 2) for curve in data.trainings["evaluations"])
    assert set(data.hosts) == {"here"}


def test_hosts_are_those_of_the_study_also_where_they_only_compressed(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store:
        for study, host in (("one", "there"), ("another", "elsewhere")):
            job = Job(kind="compress", params={"of": study})
            store.put_study(study, {}, [(job, {})])
            claim = store.claim(study, "me", exclusive=False, lease_s=60)
            assert claim is not None
            store.finish(claim, Outcome(content={"file_bytes": 1}), {"id": host}, 0.1)

        assert set(load_study(store, "one").hosts) == {"there"}


def test_analysis_takes_them(finished: Finished) -> None:
    table = cells(load_study(finished.store, "finished"), np.random.default_rng(0))

    assert len(table) == 5 + 7


def test_a_study_that_is_not_there_is_named(finished: Finished) -> None:
    with pytest.raises(StoreError, match="finished"):
        load_study(finished.store, "other")
