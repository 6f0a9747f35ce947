from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import squeezerl
from balancing import ENV_KWARGS, SOURCE, balancing_agent, cart_pole
from made_profiles import make_process
from small_policies import make_artifact
from squeezerl.analysis.timing import FEWEST_FOR_INTERVAL
from squeezerl.api import profile
from squeezerl.errors import (
    EnvError,
    MeasurementError,
    SqueezeRLError,
)
from squeezerl.evaluation.environment import Environment
from squeezerl.measurement import profile as module
from squeezerl.measurement.processes import ProbeJob
from squeezerl.measurement.profile import profile_subjects
from squeezerl.measurement.result import ProcessRecord, Profile
from squeezerl.measurement.settings import Settings, Workload
from squeezerl.measurement.subject import Subject
from squeezerl.report.profile_report import profile_json, profile_markdown, profile_notes

pytestmark = pytest.mark.slow

SHORT = {"seconds": 0.1, "precision": 1.0}
SEEN = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def _artifact(folder: Path, recipe: str = "float") -> str:
    make_artifact(balancing_agent().network, recipe, source=SOURCE).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A float artifact, the same again, and an int8 one, of an agent that balances CartPole."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {
        "float": _artifact(folder / "float"),
        "again": _artifact(folder / "again"),
        "ptdq": _artifact(folder / "ptdq", "int8:dynamic"),
    }


@pytest.fixture(scope="module")
def real(
    artifacts: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Profile, list[tuple[str, float]]]:
    """The three in ONNX Runtime, measured in earnest, and the progress that was reported."""
    progress: list[tuple[str, float]] = []
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setattr(module, "MOST_PROCESSES", FEWEST_FOR_INTERVAL)
        found = profile(
            list(artifacts.values()),
            env=cart_pole(),
            runtimes=("ort",),
            on_progress=lambda stage, fraction: progress.append((stage, fraction)),
            **SHORT,
        )
    assert list(temporary.iterdir()) == []
    return found, progress


def test_every_policy_has_a_row_with_six_processes(
    real: tuple[Profile, Any], artifacts: dict[str, str]
) -> None:
    rows = real[0].rows
    assert [(row.name, row.runtime) for row in rows] == [(p, "ort") for p in artifacts.values()]
    for row in rows:
        assert row.problem is None
        assert [process.round for process in row.processes] == [0, 1, 2, 3, 4, 5]
        assert row.env_id == "CartPole-v1"
        assert row.source == SOURCE
        assert row.observations.count == 1000  # ten episodes of a hundred steps
    assert len({row.observations.sha256 for row in rows}) == 1  # of the one agent behind them


def test_the_same_policy_costs_the_same_again(real: tuple[Profile, Any]) -> None:
    rows = profile_json(real[0])["rows"]
    assert rows[0]["file_bytes"] == rows[1]["file_bytes"] != rows[2]["file_bytes"]
    one, other = (row["latency_s"]["median"] for row in rows[:2])
    assert 1 / 3 < one / other < 3  # neighbours may disturb one of them
    memory = [row["memory_bytes"] for row in rows]
    if memory[0] is not None:
        assert memory[0]["total"] == pytest.approx(memory[1]["total"], rel=0.05)
    ratio = rows[0]["reference_ratio"]
    assert ratio["file_bytes"] == ratio["macs"] == 1.0
    assert ratio["latency"]["median"] == 1.0


def test_a_real_profile_is_json_and_a_table(real: tuple[Profile, Any]) -> None:
    data = profile_json(real[0])
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    markdown = profile_markdown(data)
    for name in ("float", "again", "ptdq"):
        assert f"| {name} | ort |" in markdown
    for row in data["rows"]:
        assert 1e-6 < row["latency_s"]["median"] < 1e-2
        assert row["energy_j_per_decision"] is None or row["energy_source"]


def test_progress_names_the_rows_and_does_not_fall(real: tuple[Profile, Any]) -> None:
    stages, fractions = zip(*real[1], strict=True)
    assert fractions[0] == 0
    assert list(fractions) == sorted(fractions)
    assert max(fractions) <= 1
    assert {"float in ort", "again in ort", "ptdq in ort"} <= set(stages)


# From here on no process is started: what one would be asked to do is noted, and the answer given.
Answer = Callable[[ProbeJob, int], ProcessRecord]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ProbeJob, int]]:
    return _instead(monkeypatch, lambda job, round_: make_process(round_))


def _instead(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[tuple[ProbeJob, int]]:
    """Answers of processes that are never started; returns the jobs and rounds to come."""
    asked: list[tuple[ProbeJob, int]] = []

    def run(job: ProbeJob, round_: int, gauge: float, folder: Path) -> ProcessRecord:
        assert folder.is_dir()
        assert job.payload.is_dir()
        asked.append((job, round_))
        return answer(job, round_)

    monkeypatch.setattr(module, "run_probe", run)
    monkeypatch.setattr(module, "gauge_times", lambda seconds: [10_000])
    return asked


def _subjects(*names: str) -> list[Subject]:
    artifact = make_artifact(balancing_agent().network, "float", source=SOURCE)
    return [Subject(name, artifact) for name in names]


def _measure(*names: str, **settings: Any) -> Profile:
    workload = Workload(env_id=None, observations=SEEN)
    return profile_subjects(_subjects(*names), dict.fromkeys(names, workload), Settings(**settings))


def _name(job: ProbeJob) -> int:
    """Which subject a job is of."""
    return int(job.payload.name.split("-")[1])


def test_rounds_go_over_all_rows_in_random_order(jobs: list[tuple[ProbeJob, int]]) -> None:
    _measure("a", "b", "c", "d")
    assert [round_ for _, round_ in jobs] == [number // 4 for number in range(24)]
    orders = [tuple(_name(job) for job, _ in jobs[4 * n : 4 * n + 4]) for n in range(6)]
    assert all(set(order) == {0, 1, 2, 3} for order in orders)
    assert len(set(orders)) > 1
    first = list(jobs)
    jobs.clear()
    _measure("a", "b", "c", "d")
    assert [_name(job) for job, _ in jobs] == [_name(job) for job, _ in first]
    jobs.clear()
    _measure("a", "b", "c", "d", seed=1)
    assert [_name(job) for job, _ in jobs] != [_name(job) for job, _ in first]


def test_rows_that_miss_the_precision_get_more_rounds_with_their_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(job: ProbeJob, round_: int) -> ProcessRecord:
        noisy = _name(job) == 2 and round_ % 2
        return make_process(round_, usual_ns=40_000 if noisy else 20_000)

    jobs = _instead(monkeypatch, answer)
    found = _measure("reference", "calm", "noisy")
    assert [len(row.processes) for row in found.rows] == [12, 6, 12]
    assert {_name(job) for job, round_ in jobs if round_ >= 6} == {0, 2}


def test_more_rounds_end_when_the_precision_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(
        monkeypatch,
        lambda job, round_: make_process(round_, usual_ns=24_000 - 4_000 * (round_ > 0)),
    )
    (row,) = _measure("one").rows
    assert 6 < len(row.processes) < 12


def test_jobs_say_how_to_measure(jobs: list[tuple[ProbeJob, int]]) -> None:
    _measure("a", runtimes=("ort", "torch", "sb3"), batch=7, seconds=3.0)
    by_runtime = {job.runtime: job for job, _ in jobs}
    assert by_runtime.keys() == {"ort", "torch", "sb3"}
    for job in by_runtime.values():
        assert job.algorithm == "ppo"
        assert (job.batch, job.threads, job.meter, job.episodes) == (7, 1, None, None)
        assert (job.latency_s, job.energy_s) == (0.5, 0.5)


def test_int8_runs_in_onnx_runtime_only_and_says_so(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    found = profile([artifacts["ptdq"], artifacts["float"]], observations=SEEN)
    rows = {(Path(row.name).name, row.runtime): row for row in found.rows}
    assert len(rows) == 6
    for runtime in ("torch", "sb3"):
        row = rows["ptdq", runtime]
        assert row.processes == ()
        assert "int8 models run in ONNX Runtime only" in str(row.problem)
        assert rows["float", runtime].problem is None
    assert len(jobs) == 4 * 6
    data = profile_json(found)
    assert data["rows"][1]["problem"] == rows["ptdq", "torch"].problem
    assert data["rows"][1]["latency_s"] is None
    assert "ptdq in torch, ptdq in sb3: the model is quantized" in "\n".join(profile_notes(data))


def test_where_nothing_can_run_that_is_an_error_with_the_reason(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    with pytest.raises(MeasurementError, match="nothing could be measured: the model is quantized"):
        profile([artifacts["ptdq"]], observations=SEEN, runtimes=("torch", "sb3"))
    assert jobs == []


@pytest.mark.parametrize("failing_round", [0, 3, 8])
def test_a_row_that_fails_does_not_cost_the_others(
    failing_round: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(job: ProbeJob, round_: int) -> ProcessRecord:
        if _name(job) == 1 and round_ == failing_round:
            raise MeasurementError("the battery is charging")
        return make_process(round_, usual_ns=20_000 + 5_000 * (round_ % 2))

    jobs = _instead(monkeypatch, answer)
    good, bad = _measure("good", "bad").rows
    assert len(good.processes) == 12
    assert good.problem is None
    assert bad.problem == "the battery is charging"
    # Six are enough for figures, fewer are not.
    assert len(bad.processes) == (failing_round if failing_round >= 6 else 0)
    assert sum(_name(job) == 1 for job, _ in jobs) == failing_round + 1


@pytest.mark.parametrize("failing_round", [0, 3, 8])
def test_any_failure_can_be_reported(failing_round: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(job: ProbeJob, round_: int) -> ProcessRecord:
        if _name(job) == 0 and round_ == failing_round:
            raise MeasurementError("gone")
        return make_process(round_, usual_ns=20_000 + 5_000 * (round_ % 2))

    _instead(monkeypatch, answer)
    data = profile_json(_measure("first", "second"))
    assert "first in ort: gone" in profile_markdown(data)
    assert data["reference"]["artifact"] == ("first" if failing_round >= 6 else "second")


def test_where_every_row_fails_the_first_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(job: ProbeJob, round_: int) -> ProcessRecord:
        raise MeasurementError("no sensor")

    jobs = _instead(monkeypatch, answer)
    with pytest.raises(MeasurementError, match="nothing could be measured: no sensor"):
        _measure("a", "b")
    assert len(jobs) == 2


def test_watts_make_an_estimate_in_every_process(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    found = profile([artifacts["float"]], observations=SEEN, runtimes=("ort",), watts_per_core=5.0)
    assert found.meter_problem is None
    meters = [job.meter for job, _ in jobs]
    assert all(
        meter and (meter.name, meter.settings["watts_per_core"]) == ("cpu-time", 5.0)
        for meter in meters
    )


def test_without_energy_the_reason_is_told(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    found = profile([artifacts["float"]], observations=SEEN, runtimes=("ort",), energy="none")
    assert found.meter_problem == "not asked for"
    assert all(job.meter is None for job, _ in jobs)
    row = profile_json(found)["rows"][0]
    assert (row["energy_j_per_decision"], row["energy_source"]) == (None, None)


def test_episodes_have_seeds_of_their_own_in_every_process(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    profile([artifacts["float"]], env=cart_pole(), runtimes=("ort",), episodes=True, seed=5)
    wanted = [job.episodes for job, _ in jobs]
    assert [episodes.seed for episodes in wanted if episodes] == [
        5 + 10_000 * number for number in range(6)
    ]
    for episodes in wanted:
        assert episodes is not None
        assert (episodes.env_id, episodes.env_kwargs) == ("CartPole-v1", ENV_KWARGS)
        assert episodes.path == str(Path.cwd())  # where `module:Id` environments may live


def test_each_agent_decides_on_observations_of_its_own(
    jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    def place(source: Any) -> Environment:
        return Environment.find(source.env_id, {"max_episode_steps": 50})

    found = profile([artifacts["float"], "demo"], env=place, runtimes=("ort",))
    balancing, demo = found.rows
    assert (balancing.env_id, demo.env_id) == ("CartPole-v1", "HalfCheetah-v5")
    assert balancing.observations.count == demo.observations.count == 500
    assert balancing.observations.sha256 != demo.observations.sha256


def test_recorded_observations_take_the_place_of_an_environment(
    monkeypatch: pytest.MonkeyPatch, artifacts: dict[str, str]
) -> None:
    seen = []

    def answer(job: ProbeJob, round_: int) -> ProcessRecord:
        seen.append(np.load(job.observations))
        return make_process(round_)

    _instead(monkeypatch, answer)
    found = profile([artifacts["float"]], observations=SEEN.astype(np.float64), runtimes=("ort",))
    assert found.rows[0].env_id is None
    assert seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0], SEEN)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no policies": ({"policies": []}, "at least one"),
    "a missing policy": ({"policies": ["missing"]}, "missing"),
    "an unknown runtime": ({"runtimes": ("ort", "tflite")}, "unknown runtime 'tflite'"),
    "no runtime": ({"runtimes": ()}, "at least one"),
    "a runtime twice": ({"runtimes": ("ort", "ort")}, "each runtime once"),
    "no batch": ({"batch": 0}, "`batch` must be"),
    "a huge batch": ({"batch": 10**6}, "`batch` must be"),
    "no threads": ({"threads": 0}, "`threads` must be"),
    "too many threads": ({"threads": 10**6}, "`threads` must be"),
    "no time": ({"seconds": 0.0}, "`seconds` must be"),
    "a lot of time": ({"seconds": 1e6}, "`seconds` must be"),
    "seconds that are no number": ({"seconds": float("nan")}, "`seconds` must be"),
    "no precision": ({"precision": 0.0}, "`precision` must be"),
    "precision that is no number": ({"precision": float("nan")}, "`precision` must be"),
    "a negative seed": ({"seed": -1}, "`seed` must be"),
    "no watts": ({"watts_per_core": 0.0}, "watts_per_core"),
    "a meter that nobody knows": ({"energy": "wattmeter"}, "'wattmeter' is not one of"),
    "watts for a sensor": ({"energy": "rapl", "watts_per_core": 5.0}, "estimate"),
    "a normaliser for an artifact": ({"vecnormalize": "vecnormalize.pkl"}, "normaliser"),
    "an environment as well": ({"env": "CartPole-v1"}, "`observations` take the place"),
    "episodes as well": ({"episodes": True}, "take the place"),
    "equal observations": ({"observations": np.ones((20, 4))}, "all `observations` are the same"),
    "one observation": ({"observations": np.ones((1, 4))}, "at least two"),
    "no observations": ({"observations": np.ones((0, 4))}, "have no rows"),
    "unknown numbers": ({"observations": np.where(SEEN > 2, np.nan, SEEN)}, "finite"),
    "infinite numbers": ({"observations": np.where(SEEN > 2, np.inf, SEEN)}, "finite"),
    "numbers too large": ({"observations": SEEN.astype(np.float64) * 1e200}, "finite"),
    "observations of another shape": (
        {"observations": SEEN[:, :3]},
        r"have the shape \(\d+, 3\); this policy needs \(n, 4\)",
    ),
    "episodes of observations": (
        {"observations": np.stack([SEEN, 2 * SEEN])},
        r"shape \(2, 50, 4\)",
    ),
    "a vector": ({"observations": SEEN[0]}, "must be an array of the shape"),
    "a number": ({"observations": 1.0}, "must be an array of the shape"),
    "words": ({"observations": [["a", "b"]]}, "must be numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_process(
    case: str, jobs: list[tuple[ProbeJob, int]], artifacts: dict[str, str]
) -> None:
    settings, message = BAD[case]
    arguments: dict[str, Any] = {"policies": [artifacts["float"]], "observations": SEEN} | settings
    with pytest.raises(SqueezeRLError, match=message):
        profile(**arguments)
    assert jobs == []


@pytest.mark.parametrize(
    ("environment", "error", "message"),
    [
        ("Nope-v1", EnvError, "unknown environment"),
        ("HalfCheetah-v5", EnvError, "2 discrete actions"),
        ("Acrobot-v1", EnvError, "Acrobot-v1"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_before_any_process(
    environment: str,
    error: type[Exception],
    message: str,
    jobs: list[tuple[ProbeJob, int]],
    artifacts: dict[str, str],
) -> None:
    with pytest.raises(error, match=message):
        profile([artifacts["float"]], env=environment)
    assert jobs == []


def test_a_damaged_artifact_is_refused_before_any_process(
    jobs: list[tuple[ProbeJob, int]], tmp_path: Path
) -> None:
    folder = Path(_artifact(tmp_path / "float"))
    (folder / "policy.onnx").write_bytes(b"garbage")
    with pytest.raises(SqueezeRLError, match=r"policy\.onnx"):
        profile([folder], observations=SEEN)
    assert jobs == []


def test_the_profile_is_a_public_name() -> None:
    assert squeezerl.profile is profile


def test_microcontrollers_are_emulated_beside_or_without_runtimes(
    artifacts: dict[str, str],
) -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    chosen = [artifacts["float"], artifacts["ptdq"]]
    found = profile(chosen, observations=SEEN, runtimes="cortex-m4")
    data = profile_json(found)
    assert (data["rows"], data["reference"]) == ([], None)
    small, smaller = data["microcontrollers"]
    assert (small["wrong"], smaller["wrong"]) == (0, 0)
    assert smaller["flash_bytes"] > 0
    assert small["instructions"] > 0
    text = profile_markdown(data)
    assert f"{smaller['instructions']:,}" in text
    assert "cycles differ" in text


def test_a_processor_that_cannot_be_emulated_says_why(
    artifacts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MeasurementError, match=r"Unicorn is not installed: pip install"):
        profile([artifacts["float"]], observations=SEEN, runtimes="cortex-m4")
