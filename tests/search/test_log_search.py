from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from balancing import balancing_agent
from shared_folder import shared_folder
from small_policies import SOURCE, demo_network, make_network, with_layer
from squeezerl.agents.load import Agent
from squeezerl.analysis.shares import share_interval
from squeezerl.api import compare_actions, squeeze
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import InvalidArgumentError
from squeezerl.evaluation.actions import KeepActions
from squeezerl.evaluation.log import Log
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import as_float
from squeezerl.pipeline.make import make_artifact
from squeezerl.search.candidates import BASELINE, Candidate
from squeezerl.search.log_search import ActionJudge, learning_on_a_log, log_students
from squeezerl.search.result import LogSqueezeResult

# Half of the agent's 20 neurons are idle: without them it decides as before.
AGENT = balancing_agent(width=20, idle=10)
RECIPES = ("ptdq", "ptsq", "l2:0.2", "l2:0.5", "l2:0.7")


def _log(rows: int = 2_500) -> Log:
    """States of a pole that sways, drawn at random, and what the agent does in them."""
    spread = np.float32([1, 0.5, 0.1, 0.5])
    seen = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32) * spread
    return Log(observations=seen, origin="pole.npz")


@dataclass(frozen=True)
class Found:
    """A squeeze from a log, and its folder."""

    result: LogSqueezeResult
    folder: Path


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A squeeze whose candidates have a known fate."""

    def make(folder: Path) -> None:
        squeezed = squeeze(
            AGENT, output=folder / "out", observations=_log(), recipes=RECIPES, budget=0,
            measure=False, workers=1,
        )  # fmt: skip
        (folder / "result").write_bytes(pickle.dumps(squeezed.result))

    folder = shared_folder(tmp_path_factory, "log-squeeze", make)
    return Found(pickle.loads((folder / "result").read_bytes()), folder / "out")


@pytest.mark.slow
def test_the_smallest_that_keeps_the_decisions_is_chosen_and_confirmed(found: Found) -> None:
    trials = {trial.candidate.name: trial for trial in found.result.trials}
    assert found.result.chosen.name == "l2-50"
    assert trials["l2-70"].kept is not None
    assert trials["l2-70"].kept.verdict == "loses"
    confirmation = found.result.confirmation
    assert confirmation is not None
    assert (confirmation.kept, confirmation.decisions, confirmation.verdict) == (500, 500, "keeps")
    assert confirmation.share == share_interval(500, 500, 0.025)


def test_candidates_are_fitted_to_the_first_part_alone(found: Found) -> None:
    fitted = _log().part("fit").record
    manifest = read_artifact(found.folder / "candidates" / "ptsq").manifest
    assert manifest.observations == fitted
    assert (manifest.calibration, manifest.learning) == (None, None)


def test_the_choice_and_the_confirmation_are_of_the_other_parts(found: Found) -> None:
    for part, name in (("choose", "l2-70"), ("confirm", found.result.chosen.name)):
        seen = _log().part(part).observations  # type: ignore[arg-type]
        artifact = found.folder / "candidates" / name
        again = compare_actions(artifact, against=AGENT, observations=seen)
        trial = next(t for t in found.result.trials if t.candidate.name == name)
        kept = trial.kept if part == "choose" else found.result.confirmation
        assert kept is not None
        assert (again.kept, again.share) == (kept.kept, kept.share)


def test_what_is_written_says_that_actions_are_kept_and_not_the_return(found: Found) -> None:
    report = (found.folder / "report.md").read_text()
    assert "This is no guarantee on the return" in report
    assert "pole.npz" in report
    data = json.loads((found.folder / "results.json").read_text())
    assert data["guarantee"] == "actions"
    assert data["keep_actions"] == "0.99:0.02"
    assert data["chosen"]["confirmation"]["verdict"] == "keeps"
    assert data["chosen"]["weight_bytes"] < data["baseline"]["weight_bytes"]
    assert [each["recipe"] for each in data["candidates"]] == [Recipe.of(r).text for r in RECIPES]
    assert (found.folder / "c" / "policy.c").is_file()


def test_where_nothing_keeps_them_the_float_policy_is_chosen(tmp_path: Path) -> None:
    squeezed = squeeze(
        AGENT, output=tmp_path / "out", observations=_log(), recipes=["l2:0.7"], budget=0,
        measure=False, workers=1,
    )  # fmt: skip
    assert squeezed.result.chosen == BASELINE
    assert squeezed.result.confirmation is None
    assert "The best is l2-70" in squeezed.summary()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_students_learn_from_a_log(tmp_path: Path) -> None:
    squeezed = squeeze(
        AGENT, output=tmp_path / "out", observations=_log(), keep_actions="0.8:0.02",
        recipes=["distill:3:hardtanh:steps=300 | bits:8:tensor | recover:100"], budget=0,
        measure=False, workers=1,
    )  # fmt: skip
    assert isinstance(squeezed.result, LogSqueezeResult)
    assert squeezed.recipe == squeezed.result.trials[0].candidate.recipe
    assert squeezed.artifact.manifest.learning is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": _log(1_000)}, r"have 1,000 rows, .* 1,840 in all"),
        ({"observations": Log(observations=np.ones((2_500, 4), np.float32))}, "are the same"),
        ({"observations": np.zeros((2_500, 3))}, r"needs \(n, 4\)"),
        ({"env": "CartPole-v1"}, "take the place of `env`"),
        ({"keep_actions": "1:1"}, "below 1"),
        ({"retain": 0.9}, "about the return"),
        ({"optimize": "macs"}, "is bytes"),
        ({"recipes": ["ptdq", "ptdq"]}, "twice"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changes: Mapping[str, object], message: str
) -> None:
    given: dict[str, object] = {"observations": _log(), "output": tmp_path / "out"} | dict(changes)
    call: Callable[..., object] = squeeze
    with pytest.raises(InvalidArgumentError, match=message):
        call(AGENT, **given)
    assert list(tmp_path.iterdir()) == []


def test_each_attempt_to_confirm_errs_half_as_often(tmp_path: Path) -> None:
    """Two that are wrong in states of the last part only, and one that is always right."""
    network = make_network(3, 8, 2, normalized=False)
    weight = as_float(network.layers[0].weight) * np.float32([-1, 1, 1])
    seen = np.random.default_rng(0).normal(size=(3_000, 3)).astype(np.float32)
    seen[:, 0] = 0
    seen[2_400::5, 0] = 50
    candidates = [Candidate(Recipe(), attempt) for attempt in range(1, 4)]
    networks = [*[with_layer(network, 0, weight=weight)] * 2, network]
    for candidate, each in zip(candidates, networks, strict=True):
        make_artifact(Agent(each, SOURCE)).save(tmp_path / candidate.name)
    judge = ActionJudge(
        network,
        Log(observations=seen),
        KeepActions(),
        lambda candidate: tmp_path / candidate.name,
    )
    chosen, confirmation = judge.choose(candidates)
    verdicts = [kept.verdict for c in candidates if (kept := judge.judge(c))]
    assert verdicts == ["keeps"] * 3
    assert chosen == candidates[2]
    assert confirmation is not None
    assert confirmation.error == 0.025 / 4


def test_learning_goes_on_below_the_smallest_that_keeps() -> None:
    recipes = [Recipe.of(f"distill:{width}:relu:steps=100") for width in (2, 4, 8, 16)]
    cost = {recipe: 2.0**n for n, recipe in enumerate(recipes)}
    seen: dict[Candidate, tuple[float, float]] = {}
    plan = learning_on_a_log(recipes, seen, core_s=100, workers=2, share=0.9)

    def show(generation: list[Candidate], kept: dict[int, float]) -> list[int]:
        widths = [candidate.recipe.steps[0].hidden[0] for candidate in generation]  # type: ignore[attr-defined]
        for width, candidate in zip(widths, generation, strict=True):
            seen[candidate] = (2.0 ** (2, 4, 8, 16).index(width), kept[width])
        return widths

    assert len(cost) == 4
    assert show(next(plan), {2: 0.3, 4: 0.5, 8: 0.6, 16: 0.8}) == [2, 4, 8, 16]
    second = next(plan)
    assert show(second, {16: 0.95, 8: 0.85}) == [16, 8]
    first_steps = 25 * 1_000 / 4
    assert second[0].recipe.steps[0].steps == pytest.approx(4 * first_steps, rel=0.01)  # type: ignore[attr-defined]
    assert show(next(plan), {8: 0.92, 4: 0.7}) == [8, 4]
    assert show(next(plan), {4: 0.91, 2: 0.4}) == [4, 2]
    assert show(next(plan), {2: 0.5}) == [2]


def test_students_are_smaller_than_half_of_the_agent() -> None:
    network = demo_network()
    recipes = log_students(network)
    assert recipes
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert all("finetune" not in recipe.text for recipe in recipes)
