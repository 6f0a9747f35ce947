"""A whole small study through worker processes, from its file to its data frames."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import squeezerl
from balancing import balancing_agent, cart_pole, untrained_agent
from finished import STUDY, Finished, finish
from shared_folder import shared_folder
from squeezerl.analysis.cells import cells
from squeezerl.errors import StudyError
from squeezerl.evaluation.evaluate import play
from squeezerl.jobs.store import Store
from squeezerl.pipeline.make import make_artifact
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.studies.results import load_study
from squeezerl.studies.run import StudyRun, find_study, open_existing, prepare

pytestmark = pytest.mark.slow

REFERENCES = {"random", "constant"}
SMALL = """\
name: small
agents: [{path: ppo.zip, env: Pendulum-v1}]
methods: [ptdq, ptsq, l2: {percent: [25]}]
episodes: 2
"""


@pytest.fixture
def here(tmp_path: Path, small_agent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with an agent only; locks of the host are this test's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_agent, tmp_path / "ppo.zip")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def after(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after `run(SMALL)`."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            shutil.copy(here / "ppo.zip", folder)
            run(SMALL)

    shutil.copytree(shared_folder(tmp_path_factory, "small", make), here, dirs_exist_ok=True)
    return here


def run(text: str, name: str = "small.yaml", workers: int = 1) -> StudyRun:
    Path(name).write_text(text, encoding="utf-8")
    return squeezerl.run_study(name, workers=workers)


def attempts(store_url: str) -> dict[str, float]:
    """The seconds of each finished job; they differ if a job was done a second time."""
    with Store.open(store_url) as store:
        return {
            row.job.id: row.seconds
            for name in store.study_names()
            for row in store.results(name, arrays=False)
        }


def test_a_study_runs_and_a_second_run_does_nothing(after: Path) -> None:
    first = attempts("sqlite:///small.db")

    done = run(SMALL)

    assert (done.counts.done, done.counts.total) == (4 + 6, 4 + 6)
    assert sorted(done.data.returns["method"]) == [
        *("constant", "float", "l2", "ptdq", "ptsq", "random")
    ]
    assert attempts(done.store) == first
    assert (after / "small.db").is_file()
    assert (after / "small-artifacts" / "inputs").is_dir()


def test_studies_share_what_they_have_in_common(after: Path) -> None:
    first = attempts("sqlite:///small.db")
    other = SMALL.replace("name: small", "name: other\nstore: sqlite:///small.db").replace(
        "l2: {percent: [25]}", "l2: {percent: [25, 50]}"
    )
    _, forecast = prepare(_written(other), workers=2)
    assert sum(kind.done for kind in forecast.kinds) == len(first)

    done = run(other, "other.yaml")

    assert done.counts.done == len(first) + 2
    after = attempts("sqlite:///small.db")
    assert {job: after[job] for job in first} == first


def test_a_policy_that_is_made_already_is_judged_beside_its_agent(here: Path) -> None:
    """It is made from another agent, so that one compressed anew would act differently."""
    agent = balancing_agent()
    agent = replace(agent, source=replace(agent.source, trained_steps=5_000))
    make_artifact(agent).save(here / "mine")
    made = make_artifact(untrained_agent(), "ptdq")
    made.save(here / "mine" / "elsewhere")
    text = """
name: made
agents: [{path: mine, env_kwargs: {max_episode_steps: 100}}]
methods: [ptsq, ptdq: {folder: elsewhere}]
episodes: 3
"""

    done = run(text)

    assert done.counts.done == done.counts.total
    rows = done.data.returns.set_index("method")
    assert rows.at["float", "returns"].tolist() == [100, 100, 100]
    assert done.data.trained_steps["steps"].tolist() == [5_000]
    expected = play(load_network(made.network), cart_pole(), episodes=3, seed=0)
    assert rows.at["ptdq", "returns"].tolist() == expected.returns
    assert max(expected.returns) < 20
    assert rows.at["ptdq", "weight_bytes"] == made.manifest.size.weight_bytes

    for options, says in (
        ("{folder: nowhere}", "no agent that exists already has a policy in a folder nowhere"),
        ("{folder: elsewhere, keep: [layer0]}", "was made with int8:dynamic, not with"),
    ):
        with pytest.raises(StudyError, match=says):
            run(text.replace("{folder: elsewhere}", options))
    with pytest.raises(StudyError, match="one folder holds one policy"):
        run(text.replace("ptdq: {", "l2: {percent: [10, 20], "))


def test_missing_artifacts_are_reported_and_made_again_on_request(after: Path) -> None:
    first = attempts("sqlite:///small.db")
    more = SMALL.replace("episodes: 2", "episodes: 3")
    gone = sorted((after / "small-artifacts" / "jobs").rglob("*.zip"))[:2]
    for path in gone:
        path.unlink()

    with pytest.raises(StudyError, match=r"lacks what 2 finished jobs left;.* with redo_missing"):
        run(more)
    with Store.open("sqlite:///small.db") as store:
        assert {job: store.result(job).seconds for job in first} == first

    done = squeezerl.run_study("small.yaml", workers=1, redo_missing=True)

    assert done.counts.done == done.counts.total
    assert all(path.is_file() for path in gone)
    assert {len(returns) for returns in done.data.returns["returns"]} == {3}


def test_results_of_a_repeated_training_are_repeated_too(here: Path, small_agent: Path) -> None:
    """If a training is missing, it is repeated, and so is every job that needs it."""
    text = (
        "name: small\nagents:\n"
        "  - train: {algorithms: ppo, environments: CartPole-v1, steps: 256,\n"
        "      hyperparameters: {ppo: {n_envs: 1, n_steps: 128, net_arch: [8]}}, evaluations: 1}\n"
        "methods: [ptdq]\nepisodes: 2\n"
    )
    finish(here, small_agent, text)
    where = {"store": f"sqlite:///{here}/s.db", "artifacts": str(here / "artifacts")}
    first = attempts(where["store"])
    with Store.open(where["store"]) as store:
        (trained,) = store.results("small", ("train",))
        name = trained.content["artifact"]
    (here / "artifacts" / "jobs" / name[:2] / f"{name}.zip").unlink()
    redone: list[int] = []
    Path("study.yaml").write_text(text.replace("[ptdq]", "[ptdq, l2: {percent: [50]}]"))

    again = squeezerl.run_study(
        "study.yaml", workers=1, redo_missing=True, on_redo=redone.append, **where
    )

    after = attempts(where["store"])
    assert redone == [1]
    assert again.counts.done == again.counts.total == len(first) + 2
    same = {job for job in first if first[job] == after[job]}
    with Store.open(where["store"]) as store:
        assert all(store.job(job).params["policy"].keys() & REFERENCES for job in same)


def test_artifacts_are_not_found_in_another_folder(after: Path) -> None:
    other = SMALL.replace("episodes: 2", "episodes: 3") + "artifacts: elsewhere\n"

    says = r"elsewhere \(so far it was .*/small-artifacts\): lacks what 4 finished jobs left; "
    with pytest.raises(StudyError, match=says):
        run(other)


def test_one_agent_in_an_environment_with_arguments_is_two_cells(here: Path) -> None:
    done = run(
        "name: two\nagents:\n  - {path: ppo.zip, env: Pendulum-v1}\n"
        "  - {path: ppo.zip, env: Pendulum-v1, env_kwargs: {g: 0.0}}\n"
        "methods: [ptdq]\nepisodes: 2\n"
    )

    returns = done.data.returns
    assert returns.groupby("env_id").method.apply(sorted).to_dict() == {
        "Pendulum-v1": ["constant", "float", "ptdq", "random"],
        "Pendulum-v1 (g=0.0)": ["constant", "float", "ptdq", "random"],
    }
    usual, weightless = returns[returns.method == "float"].returns
    assert len({*usual, *weightless}) == 4
    assert cells(done.data, np.random.default_rng(0)).agent.nunique() == 2


def test_all_workers_use_the_same_backend(here: Path) -> None:
    Path("small.yaml").write_text(SMALL, encoding="utf-8")
    plan, _ = prepare("small.yaml", workers=2)

    backend = squeezerl.Environment.find("Pendulum-v1").backend
    assert {
        job.params["backend"] for job, label in plan.members if label["role"] == "evaluate"
    } == {backend}


def _written(text: str) -> str:
    Path("other.yaml").write_text(text, encoding="utf-8")
    return "other.yaml"


def test_workers_find_what_one_process_finds(here: Path, finished: Finished) -> None:
    """Trainings, tickets and int8 included, all returns are the same ones."""
    text = STUDY.replace("measure:", "# measure:")
    done = run(text, "finished.yaml", workers=2)

    assert done.counts.failed == 0
    assert done.counts.done == done.counts.total
    ours = _returns(done.data.returns)
    assert ours == _returns(load_study(finished.store, "finished").returns)
    assert len(ours) == 16
    assert not [path for path in (here / "state").rglob("*") if path.is_file()]  # of trainings


def _returns(frame: object) -> dict[tuple[str, ...], list[float]]:
    return {
        (row.agent, row.env_id, row.method, str(row.ratio)): list(row.returns)
        for row in frame.itertuples()  # type: ignore[attr-defined]
    }


def test_preparing_a_study_writes_nothing(here: Path) -> None:
    Path("small.yaml").write_text(SMALL, encoding="utf-8")

    plan, forecast = prepare("small.yaml", workers=2)

    assert len(plan.jobs) == 10
    assert {kind.kind: (kind.jobs, kind.done) for kind in forecast.kinds} == {
        "compress": (4, 0),
        "evaluate": (6, 0),
    }
    assert forecast.estimate_s > 0
    assert sorted(path.name for path in here.iterdir()) == ["ppo.zip", "small.yaml", "tmp"]


def test_finished_jobs_make_the_estimate(after: Path) -> None:
    Path("small.yaml").write_text(SMALL.replace("episodes: 2", "episodes: 200"), encoding="utf-8")
    seconds = attempts("sqlite:///small.db")

    plan, forecast = prepare("small.yaml", workers=1)

    assert forecast.from_finished == 6
    estimates = [job.estimate_s for job in plan.jobs if job.kind == "evaluate"]
    assert min(filter(None, estimates)) < 100 * max(seconds.values())


def test_a_job_that_fails_does_not_stop_the_rest(here: Path) -> None:
    text = SMALL.replace("[25]", "[25, 50]").replace("ptdq", "ptdq: {keep: [layer9]}")

    done = run(text)

    assert done.counts.failed == 1
    assert done.counts.blocked == 1
    with open_existing(done.store) as store:
        (failure,) = store.failures("small")
    assert "layer9" in failure.error
    assert failure.attempts == 1


def test_a_study_is_found_by_name_and_by_file(here: Path) -> None:
    Path("a.yaml").write_text("name: mine\nstore: sqlite:///x.db\nagents: []\n", encoding="utf-8")

    assert find_study("mine") == ("mine", "sqlite:///mine.db")
    assert find_study("a.yaml") == ("mine", "sqlite:///x.db")
    assert find_study("a.yaml", "sqlite:///y.db") == ("mine", "sqlite:///y.db")
    with pytest.raises(StudyError, match="no such store"):
        open_existing("sqlite:///mine.db")
    assert not (here / "mine.db").exists()
    with pytest.raises(StudyError, match="not supported"):
        find_study("mine", "mysql://me:secret@host/db")
