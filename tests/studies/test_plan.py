"""Whatever the grid, its jobs are whole, in order, and each of them is there once."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancing import balancing_agent, cart_pole
from small_policies import make_network
from squeezerl.agents.load import Agent, demo_agent_path
from squeezerl.jobs.job import Job
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.place import Place
from squeezerl.records import AgentSource, SourceFile
from squeezerl.search.candidates import Candidate
from squeezerl.search.squeeze import Search, SqueezeSettings
from squeezerl.studies.plan import Plan, plan_study
from squeezerl.studies.reading.study_file import read_study
from squeezerl.studies.study import ExistingAgent, Measure, Study, Training, Variant

ENVIRONMENTS = ("Hopper-v4", "Pendulum-v1", "Ant-v4")


def training(algorithm: str = "ppo", env_id: str = "Hopper-v4", **changes: Any) -> Training:
    values: dict[str, Any] = {
        "name": f"{algorithm}-{env_id}",
        "algorithm": algorithm,
        "place": Place(env_id=env_id),
        "seed": 0,
        "steps": 1000,
        "hyperparameters": {"gamma": 0.99},
    }
    return Training(**(values | changes))


def existing(
    env_id: str = "Hopper-v4", sha256: str = "0" * 64, path: str = "here", seed: int = 0
) -> ExistingAgent:
    source = AgentSource(
        kind="stable-baselines3",
        path=path,
        algorithm="sac",
        env_id=env_id,
        env_kwargs={},
        files=(SourceFile(role="checkpoint", name="a.zip", sha256=sha256),),
    )
    agent = Agent(make_network(3, 4, 2, seed=seed), source)
    return ExistingAgent(name=f"sac-{env_id}", agent=agent, place=Place(env_id=env_id))


VARIANTS = (
    Variant(method="ptdq", recipe=Recipe.of("ptdq")),
    Variant(method="ptsq", recipe=Recipe.of("ptsq")),
    Variant(method="qat", recipe=Recipe.of("qat")),
    *(
        Variant(method=m, ratio=r, recipe=Recipe.of(f"{m}:{r}"))
        for m in ("l1", "l2")
        for r in (0.1, 0.5)
    ),
    Variant(method="ticket-l2", ratio=0.5, ticket="l2"),
    Variant(method="ticket-random", ratio=0.5, ticket="random", environments=("Hopper-v4",)),
)
MEASURE = Measure(variants=("ptdq", "qat"), best=("l1", "l2"))

studies = st.builds(
    lambda cells, seeds, agents, variants, measure, episodes: Study(
        name="made",
        store="sqlite:///made.db",
        artifacts="made",
        trainings=tuple(
            training(a, e, seed=seed) for a, e in sorted(cells) for seed in range(seeds)
        ),
        agents=tuple(existing(env_id) for env_id in agents),
        variants=tuple(variants),
        measure=measure,
        episodes=episodes,
    ),
    st.sets(st.tuples(st.sampled_from(("ppo", "td3")), st.sampled_from(ENVIRONMENTS)), max_size=4),
    st.integers(1, 3),
    st.lists(st.sampled_from(ENVIRONMENTS), unique=True, max_size=2),
    st.lists(st.sampled_from(VARIANTS), unique=True),
    st.sampled_from([None, MEASURE, dataclasses.replace(MEASURE, all_seeds=True)]),
    st.integers(1, 100),
)


def by_id(plan: Plan) -> dict[str, Job]:
    return {job.id: job for job in plan.jobs}


def counts(plan: Plan) -> Counter[str]:
    return Counter(job.kind for job in plan.jobs)


@given(studies)
def test_each_job_is_planned_once_after_the_jobs_that_it_needs(study: Study) -> None:
    plan = plan_study(study)

    done: set[str] = set()
    for job in plan.jobs:
        assert job.id not in done
        assert set(job.needs) <= done
        done.add(job.id)
    for job, label in plan.members:
        assert label["role"] == job.kind
        keys = {"role", "agent", "algorithm", "env_id", "train_seed", "method", "ratio"}
        assert set(label) - {"record"} == keys


def test_work_with_two_names_is_one_job_with_two_labels() -> None:
    twice = dataclasses.replace(VARIANTS[0], method="ptdq-b")
    qat_twice = dataclasses.replace(VARIANTS[2], method="qat-b")
    study = Study(
        name="a",
        store="",
        artifacts="",
        trainings=(training(),),
        variants=(VARIANTS[0], twice, VARIANTS[2], qat_twice),
        measure=Measure(variants=("ptdq", "ptdq-b")),
    )

    plan = plan_study(study)

    assert counts(plan) == {"train": 2, "compress": 2, "evaluate": 3 + 2, "profile": 1}
    for kind in ("compress", "evaluate"):
        methods = [
            [label["method"] for label in plan.labels[job.id]]
            for job in plan.jobs
            if job.kind == kind
        ]
        assert ["ptdq", "ptdq-b"] in methods
    (profile,) = [job for job in plan.jobs if job.kind == "profile"]
    assert len(profile.params["subjects"]) == 1
    renamed = dataclasses.replace(
        study, variants=study.variants[:1], measure=Measure(variants=("ptdq",))
    )
    assert profile.id in by_id(plan_study(renamed))


@given(studies)
def test_parameters_name_all_jobs_that_a_job_needs(study: Study) -> None:
    plan = plan_study(study)
    known = by_id(plan)

    for job in plan.jobs:
        named = {word for word in _words(json.loads(json.dumps(job.params))) if word in known}
        assert named == set(job.needs)


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_words, value.values()))
    if isinstance(value, list):
        return set().union(*map(_words, value))
    return {value} if isinstance(value, str) else set()


@given(studies, st.randoms(use_true_random=False))
def test_identities_do_not_depend_on_the_order_of_the_grid(
    study: Study, shuffler: random.Random
) -> None:
    trainings, agents = list(study.trainings), list(study.agents)
    shuffler.shuffle(trainings)
    shuffler.shuffle(agents)
    shuffled = dataclasses.replace(study, trainings=tuple(trainings), agents=tuple(agents))

    def without_profiles(plan: Plan) -> set[str]:  # "first" means first in the list
        return {job.id for job in plan.jobs if job.kind != "profile"}

    assert without_profiles(plan_study(shuffled)) == without_profiles(plan_study(study))


@given(studies)
def test_each_policy_is_evaluated_and_the_references_once_per_environment(study: Study) -> None:
    plan = plan_study(study)
    evaluated = [
        (label["agent"], label["train_seed"], label["method"], label["ratio"])
        for job, label in plan.members
        if job.kind == "evaluate"
    ]

    references = {("", None, "random", None), ("", None, "constant", None)}
    environments = {agent.place.env_id for agent in study.everyone}
    assert len(set(evaluated) - references) + 2 * len(environments) == len(evaluated)
    for agent in study.everyone:
        seed = agent.seed if isinstance(agent, Training) else None
        assert (agent.name, seed, "float", None) in evaluated
        for variant in study.variants:
            asked = variant.is_for(agent.algorithm, agent.place.env_id)
            asked = asked and (isinstance(agent, Training) or not variant.trains)
            assert ((agent.name, seed, variant.method, variant.ratio) in evaluated) == asked


@given(studies)
def test_only_profiles_are_exclusive_and_all_jobs_have_estimates(study: Study) -> None:
    for job in plan_study(study).jobs:
        assert job.exclusive == (job.kind == "profile")
        assert job.estimate_s is not None
        assert job.estimate_s > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"steps": 1001},
        {"hyperparameters": {"gamma": 0.98}},
        {"place": Place(env_id="Hopper-v4", env_kwargs={"reset_noise_scale": 0.1})},
        {"place": Place(env_id="Hopper-v4", backend="gymnasium")},
        {"evaluations": 3},
    ],
)
def test_whatever_affects_a_result_is_part_of_the_identity(changes: dict[str, Any]) -> None:
    def ids(agent: Training) -> set[str]:
        study = Study(name="a", store="", artifacts="", trainings=(agent,))
        return {job.id for job, label in plan_study(study).members if label["agent"]}

    assert not ids(training()) & ids(training(**changes))


def test_what_does_not_affect_a_result_is_not_part_of_the_identity() -> None:
    def ids(**changes: Any) -> set[str]:
        values: dict[str, Any] = {
            "name": "a",
            "store": "",
            "artifacts": "",
            "agents": (existing(),),
        }
        return set(by_id(plan_study(Study(**(values | changes)))))

    # The same policy in another file, for example without the optimizer's state.
    renamed = dataclasses.replace(existing(path="there", sha256="1" * 64), name="sac-mine")
    assert ids() == ids(name="b", store="x", artifacts="y", text="z")
    assert ids() == ids(agents=(renamed,))
    # Another agent shares only the episodes of the random policy and of the constant action.
    assert len(ids() & ids(agents=(existing(seed=1),))) == 2


def test_a_study_and_a_squeeze_give_equal_work_to_one_job(tmp_path: Path) -> None:
    agent, recipe, environment = balancing_agent(), Recipe.of("ptsq"), cart_pole()
    place = Place(env_id=environment.id, env_kwargs=environment.kwargs, backend=environment.backend)
    study = Study(
        name="a",
        store="",
        artifacts="",
        agents=(ExistingAgent(name="mine", agent=agent, place=place),),
        variants=(Variant(method="ptsq", recipe=recipe),),
        seed=5,
    )
    search = Search(agent, environment, SqueezeSettings(seed=5, recipes=(recipe,)), tmp_path)

    assert {search._board.compress_job(Candidate(r)).id for r in (Recipe(), recipe)} == {
        job.id for job in plan_study(study).jobs if job.kind == "compress"
    }


def test_calibration_is_part_of_ptsq_alone() -> None:
    study = Study(
        name="a",
        store="",
        artifacts="",
        agents=(existing(),),
        variants=(VARIANTS[0], VARIANTS[1]),
        seed=7,
    )
    calibrations = {
        label["method"]: job.params["calibration"]
        for job, label in plan_study(study).members
        if job.kind == "compress"
    }

    assert calibrations["float"] is None
    assert calibrations["ptdq"] is None
    assert calibrations["ptsq"]["seed"] == 7
    assert calibrations["ptsq"]["env_id"] == "Hopper-v4"


def test_changed_packaged_settings_change_the_identity(tmp_path: Path) -> None:
    """The settings are in the job as resolved, not as the user wrote them."""
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: a\nagents:\n  - train: {algorithms: ppo, environments: Hopper-v4}\n",
        encoding="utf-8",
    )
    (job,) = [job for job in plan_study(read_study(path)).jobs if job.kind == "train"]

    assert job.params["hyperparameters"]["learning_rate"] == pytest.approx(9.80828e-05)
    assert job.params["steps"] == 1_000_000
    assert "n_timesteps" not in job.params["hyperparameters"]


def test_the_same_files_elsewhere_are_the_same_agent(tmp_path: Path) -> None:
    shutil.copytree(demo_agent_path(), tmp_path / "copies" / "HalfCheetah-v5_7")
    path = tmp_path / "study.yaml"
    path.write_text("name: a\nagents: [demo, copies/*]\nmethods: [ptdq]\n", encoding="utf-8")

    plan = plan_study(read_study(path))

    assert counts(plan) == {"compress": 2, "evaluate": 4}
