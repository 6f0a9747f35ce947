"""The studies that come with the project are sound, and as large as they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.reading.study_file import read_study

STUDIES = Path(__file__).parents[2] / "studies"


def planned(name: str) -> Plan:
    return plan_study(read_study(STUDIES / f"{name}.yaml"))


@pytest.mark.slow
def test_paper_is_the_whole_grid() -> None:
    plan = planned("paper")
    trained = Counter(label["method"] for job, label in plan.members if job.kind == "train")
    policies = Counter(label["method"] for job, label in plan.members if job.kind == "evaluate")

    assert trained["float"] == trained["qat"] == 5 * 5 * 10
    assert policies["ptdq"] == policies["ptsq"] == policies["qat"] == 250
    assert policies["l1"] == policies["l2"] == 250 * 14
    assert policies["random"] == 5
    assert len({label["agent"] for _, label in plan.members} - {""}) == 25
    steps = {job.params["steps"] for job in plan.jobs if job.kind == "train"}
    assert min(steps) >= 1_000_000


def test_paper_trained_takes_enough_gradient_steps_in_every_cell() -> None:
    trainings = read_study(STUDIES / "paper-trained.yaml").trainings

    assert len({training.name for training in trainings}) == len(trainings) == 25
    for training in trainings:
        settings = training.hyperparameters
        if training.algorithm in ("trpo", "ppo"):
            assert training.steps == 1_000_000
        else:
            assert (settings["train_freq"], settings["gradient_steps"]) == (1, 1)
            assert (training.steps - settings["learning_starts"]) // settings["n_envs"] >= 100_000


def test_paper_compressed_has_the_papers_grid_with_one_seed_and_recovery() -> None:
    def cells(plan: Plan) -> set[tuple[str, str, float | None]]:
        return {
            (label["agent"], label["method"], label["ratio"])
            for job, label in plan.members
            if job.kind == "evaluate" and not label["method"].startswith("ticket")
        }

    plan = planned("paper-compressed")
    policies = Counter(label["method"] for job, label in plan.members if job.kind == "evaluate")

    assert cells(plan) > cells(planned("paper"))
    assert policies["ptdq"] == policies["ptsq"] == policies["qat"] == 25
    assert policies["bits-8+recover"] == 25
    assert policies["l1"] == policies["l2"] == 14 * 25
    assert policies["l2+recover"] == 4 * 25


def test_quickstart_has_every_method() -> None:
    methods = {label["method"] for _, label in planned("quickstart").members}

    assert {"ptdq", "ptsq", "qat", "l1", "l2", "ticket-l2", "ticket-random"} <= methods


@pytest.mark.agents
def test_published_has_the_published_agents(published_agents: Path) -> None:
    plan = planned("published")

    agents = {label["agent"] for _, label in plan.members} - {""}
    assert {"sac-HalfCheetah-v4", "ppo-Hopper-v4", "trpo-Hopper-v4"} <= agents
    assert Counter(job.kind for job in plan.jobs)["train"] == 0
    for agent in agents:
        ratios = [
            label["ratio"]
            for job, label in plan.members
            if job.kind == "evaluate" and (label["agent"], label["method"]) == (agent, "l2")
        ]
        assert len(ratios) == 14
