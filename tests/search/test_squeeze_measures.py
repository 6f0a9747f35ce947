from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

import squeezerl.search.writing as writing
from balancing import RETAIN, balancing_agent, cart_pole, untrained_agent
from made_profiles import make_process
from squeezerl import api
from squeezerl.api import squeeze
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement import profile as profiling
from squeezerl.measurement.processes import ProbeJob
from squeezerl.measurement.result import ProcessRecord
from squeezerl.measurement.settings import Settings
from squeezerl.report.renderers import render
from squeezerl.report.squeeze_report import squeeze_document
from squeezerl.search.result import SqueezeResult

pytestmark = pytest.mark.slow


RECIPES = ("ptdq", *(f"l1:{share}" for share in (0.2, 0.3, 0.4, 0.5, 0.7)), "l2:0.5")


@pytest.fixture(autouse=True)
def _without_a_film(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film takes seconds."""
    monkeypatch.setattr(api, "_film", lambda result, folder: None)


def _squeeze(folder: Path, **settings: Any) -> SqueezeResult:
    agent = balancing_agent(width=20, idle=10)
    return squeeze(
        agent,
        env=cart_pole(),
        output=folder,
        retain=RETAIN,
        recipes=RECIPES,
        episodes=10,
        seed=3,
        workers=1,
        **settings,
    ).result


@pytest.mark.usefixtures("fewest_processes")
def test_the_best_candidates_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_MEASURED", 2)
    monkeypatch.setattr(api, "_SQUEEZE_SECONDS", 0.1)
    monkeypatch.setattr(api, "Settings", functools.partial(Settings, precision=1.0))
    progress: list[tuple[str, float]] = []
    result = _squeeze(
        tmp_path / "out", on_progress=lambda stage, fraction: progress.append((stage, fraction))
    )
    profile = result.profile
    assert profile is not None
    assert [(row.name, row.runtime) for row in profile.rows] == [
        (name, runtime) for name in ("float", result.chosen.name) for runtime in ("ort", "native")
    ]
    for row in profile.rows:
        assert (row.problem, row.env_id) == (None, "CartPole-v1")
        assert len(row.processes) >= 6
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    for measured in (results["baseline"], results["chosen"]):
        assert 1e-6 < measured["profile"]["latency_s"]["median"] < 1e-2
        assert measured["profile"]["memory_bytes"]["total"] > 10 * 2**20
        native = measured["native_profile"]["latency_s"]["median"]
        assert 1e-8 < native < measured["profile"]["latency_s"]["median"]
    assert [c["method"] for c in results["candidates"] if c["profile"]] == [
        result.chosen.recipe.record.name
    ]
    assert results["measurement_problem"] is None
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## Measured" in report
    assert "| ort latency | native latency | model memory |" in report
    fractions = [fraction for _, fraction in progress]
    assert 0 <= min(fractions) <= max(fractions) <= 1
    measuring = [number for number, (stage, _) in enumerate(progress) if "measure " in stage]
    assert fractions[measuring[0]] == max(fractions[: measuring[0] + 1])


def _instead(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Answers of processes that are never started."""

    def run(job: ProbeJob, round_: int, gauge: float, folder: Path) -> ProcessRecord:
        found: ProcessRecord = answer(round_)
        return found

    monkeypatch.setattr(profiling, "run_probe", run)


def test_the_float_policy_the_chosen_and_the_smallest_that_may_keep_are_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail_once(round_: int) -> ProcessRecord:
        calls.append(round_)
        if len(calls) == 2:
            raise MeasurementError("only this one")
        return make_process(round_)

    _instead(monkeypatch, fail_once)
    result = _squeeze(tmp_path / "out")
    assert result.profile is not None
    assert result.measurement_problem is None
    problems = [row.problem for row in result.profile.rows]
    assert [problem for problem in problems if problem] == ["only this one"]
    assert "only this one" in (tmp_path / "out" / "report.md").read_text()
    names = [row.name for row in result.profile.rows if row.runtime == "ort"]
    assert len(names) == len(set(names)) == writing.MOST_MEASURED
    assert names[:2] == ["float", result.chosen.name]
    sizes = {trial.recipe.name: trial.size for trial in result.trials}
    keeping = [
        trial.recipe.name
        for trial in result.trials
        if trial.judgement and trial.judgement.retention.verdict != "loses"
    ]
    assert set(names[1:]) <= set(keeping)
    others = sorted(
        sizes[name].weight_bytes
        for name in keeping
        if name != result.chosen.name  # type: ignore[union-attr]
    )
    assert [sizes[name].weight_bytes for name in names[2:]] == others[:2]  # type: ignore[union-attr]
    assert len({row.observations.sha256 for row in result.profile.rows}) == 1


def test_that_nothing_could_be_measured_does_not_cost_the_squeeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(round_: int) -> ProcessRecord:
        raise MeasurementError("a process ended with -9")

    _instead(monkeypatch, fail)
    result = _squeeze(tmp_path / "out")
    assert result.profile is None
    assert result.measurement_problem is not None
    assert "a process ended with -9" in result.measurement_problem
    read_artifact(tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["measurement_problem"] == result.measurement_problem
    assert "not measured: nothing could be measured: a process" in render(
        squeeze_document(result, tmp_path)
    )


def test_an_agent_that_always_sees_the_same_is_squeezed_and_not_measured(tmp_path: Path) -> None:
    result = squeeze(
        untrained_agent(),
        env="balancing:tests/Constant-v0",
        output=tmp_path / "out",
        episodes=20,
        recipes=["ptdq"],
        workers=1,
    ).result
    assert result.profile is None
    assert "all `observations` are the same" in str(result.measurement_problem)
    assert result.baseline_record.mean_return == 1.0
    read_artifact(tmp_path / "out")


def test_watts_out_of_range_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="watts_per_core"):
        _squeeze(tmp_path / "out", watts_per_core=-1.0)
    assert list(tmp_path.iterdir()) == []
