from __future__ import annotations

import json
from pathlib import Path

import pytest
from squeezed import Squeezed

from balancing import MAX_STEPS, RETAIN, balancing_agent, cart_pole, untrained_agent
from squeezerl.api import load_actor, squeeze
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import EnvError, EvaluationError, InvalidArgumentError, OutputError
from squeezerl.evaluation.evaluate import play
from squeezerl.search.candidates import BASELINE, default_recipes
from squeezerl.search.result import Trial

pytestmark = pytest.mark.slow


def _trials(squeezed: Squeezed) -> dict[str, Trial]:
    return {trial.recipe.name: trial for trial in squeezed.result.trials}


def _verdict(trial: Trial) -> str | None:
    assert trial.judgement is not None
    return trial.judgement.retention.verdict


def test_nothing_is_measured_unless_it_is_asked_for(squeezed: Squeezed) -> None:
    assert (squeezed.result.profile, squeezed.result.measurement_problem) == (None, None)
    assert "Measured" not in (squeezed.folder / "report.md").read_text()


def test_every_candidate_is_tried_once(squeezed: Squeezed) -> None:
    tried = [trial.recipe for trial in squeezed.result.trials]
    assert tried == list(default_recipes())


def test_every_artifact_is_readable_and_is_what_its_trial_says(squeezed: Squeezed) -> None:
    for trial in squeezed.result.trials:
        assert trial.artifact == f"candidates/{trial.recipe.name}"
        artifact = read_artifact(squeezed.folder / trial.artifact)
        assert artifact.manifest.size == trial.size
        assert len(artifact.manifest.specs) == len(trial.recipe.steps)
        calibrated = artifact.manifest.calibration is not None
        assert calibrated == ("observations" in trial.recipe.needs)
    on_disk = {path.name for path in (squeezed.folder / "candidates").iterdir()}
    assert on_disk == {"float", *_trials(squeezed)}


def test_pruning_takes_the_share_of_neurons_that_it_names(squeezed: Squeezed) -> None:
    for name, percentage in (("l1-5", 5), ("l2-50", 50), ("l1-70", 70)):
        manifest = read_artifact(squeezed.folder / "candidates" / name).manifest
        assert manifest.layers[0].out_features == 20 - 20 * percentage // 100


def test_verdicts_are_as_the_agent_was_built(squeezed: Squeezed) -> None:
    for name, trial in _trials(squeezed).items():
        if name.startswith("bits"):
            continue  # few bits are not enough for weights of such different sizes
        fits = trial.recipe.ratio is None or trial.recipe.ratio <= 0.5
        assert _verdict(trial) == ("keeps" if fits else "loses"), name


def test_the_smallest_that_keeps_is_chosen_and_confirmed(squeezed: Squeezed) -> None:
    result = squeezed.result
    keeping = [trial for trial in result.trials if _verdict(trial) == "keeps"]
    smallest = min(trial.size.weight_bytes for trial in keeping if trial.size)
    chosen = _trials(squeezed)[result.chosen.name]
    assert chosen.size is not None
    assert chosen.size.weight_bytes == smallest
    assert result.chosen.name in ("l1-50", "l2-50")
    assert result.confirmation is not None
    assert result.confirmation.retention.verdict == "keeps"


def test_confirmation_plays_fresh_seeds(squeezed: Squeezed) -> None:
    result = squeezed.result
    assert result.confirmation is not None
    fresh = {episode.seed for episode in result.confirmation.record.episodes}
    used = {episode.seed for episode in result.baseline_record.episodes}
    for trial in result.trials:
        assert trial.judgement is not None
        used |= {episode.seed for episode in trial.judgement.record.episodes}
    assert used == set(range(3, 13))
    assert len(fresh) == 10
    assert not fresh & used


def test_the_folder_is_the_chosen_artifact(squeezed: Squeezed) -> None:
    candidate = squeezed.folder / "candidates" / squeezed.result.chosen.name
    assert read_artifact(squeezed.folder).manifest == read_artifact(candidate).manifest
    for file in candidate.iterdir():
        assert (squeezed.folder / file.name).read_bytes() == file.read_bytes()
    names = {path.name for path in squeezed.folder.iterdir()}
    assert names == {
        "policy.onnx", "manifest.json", "results.json", "report.md", "report.html", "pareto.png",
        "figures", "candidates", "c",
    }  # fmt: skip


def test_the_deployed_artifact_earns_what_was_reported(squeezed: Squeezed) -> None:
    record = play(load_actor(squeezed.folder), cart_pole(), episodes=10, seed=3)
    trial = _trials(squeezed)[squeezed.result.chosen.name]
    assert trial.judgement is not None
    assert record.episodes == trial.judgement.record.episodes
    assert record.returns == [float(MAX_STEPS)] * 10


def test_results_json_tells_what_was_returned(squeezed: Squeezed) -> None:
    results = json.loads((squeezed.folder / "results.json").read_text())
    assert {"baseline", "candidates", "chosen", "host"} <= results.keys()
    assert results["seed"] == 3
    assert results["episodes"] == 10
    assert results["max_episodes"] == 40
    assert results["env_kwargs"] == {"max_episode_steps": MAX_STEPS}
    assert len(results["candidates"]) == len(default_recipes())
    for data, trial in zip(results["candidates"], squeezed.result.trials, strict=True):
        assert (data["method"], data["ratio"]) == (trial.recipe.record.name, trial.recipe.ratio)
        assert data["retention"]["verdict"] == _verdict(trial)
        assert (squeezed.folder / data["artifact"] / "policy.onnx").stat().st_size == (
            data["file_bytes"]
        )
    assert results["chosen"]["confirmation"]["retention"]["verdict"] == "keeps"


def test_progress_stays_within_bounds_and_names_each_stage(squeezed: Squeezed) -> None:
    fractions = [fraction for _, fraction in squeezed.progress]
    assert min(fractions) >= 0
    assert max(fractions) <= 1
    stages = {stage for stage, _ in squeezed.progress}
    assert all(stage.startswith(("compress ", "play ", "confirm ", "squeeze")) for stage in stages)
    # Progress is looked at now and then, so a short job can pass unseen; thirty of them cannot.
    assert any(stage.startswith("play ") for stage in stages)


def test_a_squeeze_is_the_same_again(squeezed: Squeezed, tmp_path: Path) -> None:
    again = squeeze(
        balancing_agent(width=20, idle=10),
        env=cart_pole(),
        output=tmp_path / "o",
        retain=RETAIN,
        recipes=["ptdq", "ptsq", "l1:0.5", "l2:0.5", "l2:0.7"],
        episodes=10,
        seed=3,
        measure=False,
        workers=1,
    ).result
    assert again.chosen == squeezed.result.chosen
    before = _trials(squeezed)
    for ours in again.trials:
        theirs = before[ours.recipe.name]
        assert ours.judgement is not None
        assert theirs.judgement is not None
        assert ours.judgement.retention == theirs.judgement.retention
        assert ours.size == theirs.size
        name = f"candidates/{ours.recipe.name}/policy.onnx"
        assert (tmp_path / "o" / name).read_bytes() == (squeezed.folder / name).read_bytes()


def test_a_layer_too_small_is_reported_and_the_undecided_are_extended(tmp_path: Path) -> None:
    # 5 % of six neurons is none; 25 to 40 % are the two idle ones; four episodes decide nothing.
    out = tmp_path / "out"
    agent = balancing_agent(width=6, idle=2)
    result = squeeze(
        agent,
        env=cart_pole(),
        output=out,
        retain=RETAIN,
        episodes=4,
        measure=False,
        budget=0,
        workers=1,
    ).result
    trials = {trial.recipe.name: trial for trial in result.trials}
    assert len(trials) == len(default_recipes())
    failed = {name: trial for name, trial in trials.items() if trial.problem is not None}
    assert failed.keys() == {"l1-5", "l2-5"}
    for name, trial in failed.items():
        assert (trial.artifact, trial.size, trial.judgement) == (None, None, None)
        assert "layer0 has 6 neurons, of which 5% is 0" in str(trial.problem)
        assert not (out / "candidates" / name).exists()
    data = json.loads((out / "results.json").read_text())["candidates"]
    problems = [candidate["problem"] for candidate in data if candidate["retention"] is None]
    assert problems == [trial.problem for trial in failed.values()]
    assert problems[0] in (out / "report.md").read_text()

    chosen = trials[result.chosen.name]
    assert chosen.size is not None
    idle = {f"{n}-{p}" for n in ("l1", "l2") for p in (25, 30, 35, 40)}
    assert result.chosen.name in idle | {"ptdq"}  # whose weights are the smallest of all
    for trial in trials.values():
        if trial.judgement is not None and trial.size is not None:
            episodes = trial.judgement.retention.episodes
            if trial.size.weight_bytes > chosen.size.weight_bytes:
                assert episodes == 4  # a larger one need not be decided
            if trial.size.weight_bytes < chosen.size.weight_bytes or trial == chosen:
                assert 10 <= episodes <= 16


def test_where_nothing_keeps_the_float_policy_is_chosen(tmp_path: Path) -> None:
    result = squeeze(
        balancing_agent(),
        env=cart_pole(),
        output=tmp_path / "out",
        retain=1.5,
        recipes=["ptdq", "l2:0.2", "l2:0.7"],
        episodes=10,
        measure=False,
        workers=1,
    ).result
    assert result.chosen == BASELINE
    assert result.confirmation is None
    assert {_verdict(trial) for trial in result.trials} == {"loses"}
    chosen, plain = tmp_path / "out", tmp_path / "out" / "candidates" / "float"
    assert read_artifact(chosen).manifest == read_artifact(plain).manifest
    assert (chosen / "policy.onnx").read_bytes() == (plain / "policy.onnx").read_bytes()
    results = json.loads((chosen / "results.json").read_text())
    assert results["chosen"]["method"] == "float"
    assert results["chosen"]["confirmation"] is None


def test_an_untrained_agent_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"balancing\.zip is not clearly better than random"):
        squeeze(
            untrained_agent(),
            env=cart_pole(),
            output=tmp_path / "out",
            recipes=["ptdq"],
            episodes=20,
            workers=1,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failure_spares_what_was_to_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("precious")
    with pytest.raises(EvaluationError):
        squeeze(
            untrained_agent(),
            env=cart_pole(),
            output=tmp_path / "out",
            recipes=["ptdq"],
            force=True,
            episodes=20,
            workers=1,
        )
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == [
        "out", "out/manifest.json",
    ]  # fmt: skip
    assert (tmp_path / "out" / "manifest.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("episodes", 0, "episodes"),
        ("episodes", -1, "episodes"),
        ("seed", -1, "seed"),
        ("seed", 500_000_001, "seed"),
        ("retain", 0.0, "retain"),
        ("retain", 95.0, "retain"),
        ("max_episodes", -5, "episodes"),
        ("max_episodes", 9, "episodes"),  # fewer than each candidate gets anyway
        ("max_episodes", 10**9, "episodes"),
    ],
)
def test_a_number_out_of_range_is_an_error_and_leaves_nothing(
    tmp_path: Path, setting: str, value: float, message: str
) -> None:
    settings = {"episodes": 10} | {setting: value}
    with pytest.raises(InvalidArgumentError, match=message):
        squeeze(balancing_agent(), env=cart_pole(), output=tmp_path / "out", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_environment_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="2 discrete actions; HalfCheetah-v5"):
        squeeze(balancing_agent(), env="HalfCheetah-v5", output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("precious")
    with pytest.raises(OutputError, match="`force=True`"):
        squeeze(balancing_agent(), env=cart_pole(), output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
