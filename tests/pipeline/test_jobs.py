"""Jobs give the same results as the library's own functions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import squeezerl
from finished import Finished, context
from squeezerl.errors import ArtifactError, StudyError
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.jobs.context import Interrupted
from squeezerl.jobs.job import Job
from squeezerl.jobs.kinds import run_job
from squeezerl.jobs.location import Location
from squeezerl.records import EvaluationRecord
from squeezerl.training.config import QatConfig

pytestmark = pytest.mark.slow

GIVEN, CART = "ppo-Pendulum-v1", "ppo-CartPole-v1"


def check_same_episodes(found: Finished, job: Job, record: EvaluationRecord) -> None:
    result = found.store.result(job.id)
    assert result.content["mean_return"] == pytest.approx(record.mean_return)
    assert result.arrays["returns"].tolist() == record.returns
    assert result.arrays["lengths"].tolist() == [e.length for e in record.episodes]
    assert result.arrays["seeds"].tolist() == [e.seed for e in record.episodes]


@pytest.mark.parametrize(
    ("method", "ratio"), [("float", None), ("ptdq", None), ("ptsq", None), ("l2", 0.5)]
)
def test_compress_and_evaluate_are_the_librarys(
    finished: Finished, small_agent: Path, method: str, ratio: float | None
) -> None:
    environment = squeezerl.Environment.find("Pendulum-v1")
    recipe = method if ratio is None else f"{method}:{ratio}"
    ours = squeezerl.compress(small_agent, recipe, env=environment, seed=11)
    compress_job = finished.the_job("compress", GIVEN, method, ratio)
    artifact = squeezerl.read_artifact(finished.left_by(compress_job))

    assert artifact.model == ours.model
    size = len(ours.model)
    assert finished.store.result(compress_job.id).content["file_bytes"] == size
    assert artifact.manifest.source.files == squeezerl.load(small_agent).source.files
    record = squeezerl.evaluate(ours, env=environment, episodes=3, seed=11).record
    check_same_episodes(finished, finished.the_job("evaluate", GIVEN, method, ratio), record)


def test_the_random_policy_is_the_librarys(finished: Finished) -> None:
    (job,) = (
        job
        for job, label in finished.plan.members
        if (label["method"], label["env_id"]) == ("random", "CartPole-v1")
    )
    environment = squeezerl.Environment.find("CartPole-v1")
    random = RandomActor(environment, 11)
    record = squeezerl.evaluate(random, env=environment, episodes=3, seed=11).record
    check_same_episodes(finished, job, record)


@pytest.mark.parametrize("method", ["float", "qat"])
def test_train_is_the_librarys(finished: Finished, tmp_path: Path, method: str) -> None:
    pairs = ("n_envs:2", "n_steps:128", "batch_size:64", "net_arch:[16, 16]")
    config = squeezerl.TrainConfig(
        algorithm="ppo",
        env="CartPole-v1",
        steps=1024,
        hyperparameters=pairs,
        qat=QatConfig() if method == "qat" else None,
        evaluations=2,
        eval_episodes=2,
        device="cpu",
    )
    result = squeezerl.train(config, output=tmp_path / "agent")
    job = finished.the_job("train", CART, method)
    found = finished.store.result(job.id)
    folder = finished.left_by(job)

    assert found.content["steps"] == result.steps
    assert found.content["best_return"] == result.best_return
    assert found.arrays["timesteps"].tolist() == [512, 1024]
    assert found.arrays["evaluations"].shape == (2, 2)
    ours, theirs = (squeezerl.load(path).network for path in (folder, tmp_path / "agent"))
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        np.testing.assert_array_equal(layer.weight, other.weight)
    if method == "qat":
        assert result.artifact is not None
        ours_int8, theirs_int8 = map(squeezerl.read_artifact, (folder / "int8", result.artifact))
        assert ours_int8.model == theirs_int8.model
        evaluation = finished.the_job("evaluate", CART, "qat")
        assert evaluation.params["policy"] == {"job": job.id, "folder": "int8"}
    assert not (folder / "checkpoints").exists()


def test_a_ticket_is_half_the_size(finished: Finished) -> None:
    job = finished.the_job("compress", CART, "ticket-random", 0.5)
    layers = finished.store.result(job.id).content["layers"]

    assert [layer["out_features"] for layer in layers] == [8, 8, 2]


def test_a_profile_measures_what_was_asked_and_the_best_percentage(finished: Finished) -> None:
    for agent in (GIVEN, CART):
        (job,) = (
            job
            for job, label in finished.plan.members
            if job.kind == "profile" and label["agent"] == agent
        )
        result = finished.store.result(job.id)
        rows = result.content["rows"]

        assert {row["folder"] for row in rows} == {""}
        labels = [finished.plan.labels[row["job"]] for row in rows]
        assert [label["method"] for (label,) in labels] == ["float", "l2"]
        assert labels[1][0]["ratio"] in (0.1, 0.5)
        assert {row["problem"] for row in rows} == {None}
        for number, row in enumerate(rows):
            assert 0 < row["latency_s_low"] <= row["latency_s"] <= row["latency_s_high"] < 1
            assert row["latency_times"] > 0
            assert row["memory_bytes"] > 2**20
            ends = result.arrays[f"{number}.latency_ns_ends"]
            assert len(ends) >= 6
            assert ends[-1] == len(result.arrays[f"{number}.latency_ns"])
        assert rows[0]["latency_times"] == pytest.approx(1)
        json.dumps(result.content, allow_nan=False)


def test_a_training_that_is_stopped_goes_on_where_it_stood(
    finished: Finished, tmp_path: Path
) -> None:
    job = finished.the_job("train", CART, "float")
    asked = iter(range(3))
    stopping = context(
        finished.store, finished.location, tmp_path, lambda: next(asked, None) is None
    )
    with pytest.raises(Interrupted):
        run_job(job, stopping)
    assert (tmp_path / job.id / "agent" / "checkpoints").is_dir()
    steps: list[float] = []
    going_on = context(finished.store, finished.location, tmp_path)
    object.__setattr__(going_on, "on_progress", steps.append)

    outcome = run_job(job, going_on)

    assert min(steps) > 0.5
    assert outcome.content["steps"] == 1024
    before = finished.store.result(job.id).content["seconds"]
    assert outcome.content["seconds"] > 0.2 * before


def test_a_training_whose_result_was_not_stored_is_not_made_again(
    finished: Finished, tmp_path: Path
) -> None:
    job = finished.the_job("train", CART, "float")
    given = context(finished.store, finished.location, tmp_path)
    first = run_job(job, given)
    steps: list[float] = []
    object.__setattr__(given, "on_progress", steps.append)

    again = run_job(job, given)

    assert steps == []
    assert again.content["artifact"] == first.content["artifact"]
    assert again.arrays["evaluations"].tolist() == first.arrays["evaluations"].tolist()


@pytest.mark.parametrize("kind", ["evaluate", "compress", "profile"])
def test_other_jobs_stop_in_the_middle(finished: Finished, tmp_path: Path, kind: str) -> None:
    (job, _) = next(
        (job, label)
        for job, label in finished.plan.members
        if job.kind == kind and (kind != "compress" or job.params["calibration"])
    )
    with pytest.raises(Interrupted):
        run_job(job, context(finished.store, finished.location, tmp_path, lambda: True))


def test_jobs_of_other_releases_are_refused(finished: Finished, tmp_path: Path) -> None:
    given = context(finished.store, finished.location, tmp_path)
    with pytest.raises(StudyError, match="version 99; this release does version"):
        run_job(Job(kind="evaluate", version=99), given)
    with pytest.raises(
        StudyError, match=r"unknown kind of job 'cook'; known are .*compress, evaluate"
    ):
        run_job(Job(kind="cook"), given)


def test_a_missing_artifact_is_named(finished: Finished, tmp_path: Path) -> None:
    job = finished.the_job("evaluate", GIVEN, "ptdq")
    elsewhere = Location(str(tmp_path / "other"), cache=tmp_path / "cache")
    with pytest.raises(ArtifactError, match="is not there"):
        run_job(job, context(finished.store, elsewhere, tmp_path))


def test_episodes_are_plain_numbers(finished: Finished) -> None:
    for row in finished.store.results("finished", ("evaluate",)):
        assert row.arrays["returns"].dtype == np.float64
        assert len(row.arrays["returns"]) == 3
