from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_policies import Floats
from squeezerl.measurement import measuring
from squeezerl.measurement.measuring import measure_energy, measure_latency
from squeezerl.measurement.meters import choose

pytestmark = pytest.mark.slow

INPUTS = [np.full((1, 3), number, dtype=np.float32) for number in range(5)]


class FakeMeter:
    """Draws a steady power, and more while decisions are made."""

    name = "fake"
    description = "a fake sensor"
    estimated = False
    min_window_s = 0.02

    def __init__(self, *, machine_wide: bool, deciding: Callable[[], float]) -> None:
        self.machine_wide = machine_wide
        self.readings = 0
        self._deciding = deciding
        self._start = time.perf_counter()

    def read_j(self) -> float:
        """10 W, and 2 J for each second spent in decisions."""
        self.readings += 1
        return 10.0 * (time.perf_counter() - self._start) + 2.0 * self._deciding()


class Decider:
    """Acts as if a decision took so long, and keeps what it decided on."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.seen: list[float] = []
        self.spent_s = self.cpu_s = 0.0

    def __call__(self, observations: Any) -> Any:
        start, cpu = time.perf_counter(), time.thread_time()
        self.seen.append(float(observations[0, 0]))
        while time.perf_counter() - start < self.seconds:
            pass
        self.spent_s += time.perf_counter() - start
        self.cpu_s += time.thread_time() - cpu
        return observations[:, 0]


def _job(**settings: Any) -> dict[str, Any]:
    return {
        "warmup_s": 0.0,
        "latency_s": 0.05,
        "energy_s": 0.05,
        "gauge_limit_ns": 1e12,  # nothing is slower
        "batch": 1,
        "meter": None,
        "episodes": None,
    } | settings


def _latency(act: Any, path: Path, **settings: Any) -> tuple[float, dict[str, Any]]:
    share = measure_latency(act, INPUTS, _job(**settings), str(path / "samples.npz"))
    with np.load(path / "samples.npz") as samples:
        return share, dict(samples)


def test_times_are_those_of_the_decisions(tmp_path: Path) -> None:
    share, samples = _latency(Decider(300e-6), tmp_path)
    times = samples["nanoseconds"]
    assert np.quantile(times, 0.1) >= 300_000
    assert np.median(times) < 600_000
    assert 0 < share <= 1.1


def test_a_decision_that_waits_leaves_its_core(tmp_path: Path) -> None:
    share, _ = _latency(lambda observations: time.sleep(0.005), tmp_path)
    assert share < 0.5


def test_decisions_are_on_all_inputs_in_turn(tmp_path: Path) -> None:
    decider = Decider(100e-6)
    _, samples = _latency(decider, tmp_path)
    assert decider.seen == [number % 5 for number in range(len(decider.seen))]
    assert 0 <= len(decider.seen) - len(samples["nanoseconds"]) <= 8  # the warm-up


def test_chunks_lie_between_gauges_and_take_two_milliseconds(tmp_path: Path) -> None:
    _, samples = _latency(Decider(100e-6), tmp_path)
    ends, gauges = samples["chunk_ends"], samples["gauges"]
    assert len(gauges) == len(ends) + 1
    assert (np.diff(ends, prepend=0) >= 1).all()
    assert ends[-1] == len(samples["nanoseconds"])
    sums = np.add.reduceat(samples["nanoseconds"], [0, *ends[:-1]])
    assert 1_500_000 < np.median(sums) < 4_000_000


def test_a_decision_longer_than_a_chunk_has_one_of_its_own(tmp_path: Path) -> None:
    _, samples = _latency(Decider(0.005), tmp_path)
    assert (np.diff(samples["chunk_ends"], prepend=0) == 1).all()


def test_a_window_is_open_for_the_time_that_was_asked_for(tmp_path: Path) -> None:
    decider = Decider(100e-6)
    start = time.perf_counter()
    _latency(decider, tmp_path, latency_s=0.1)
    assert 0.1 <= time.perf_counter() - start < 1.0


def test_a_window_in_which_everything_is_disturbed_ends_all_the_same(tmp_path: Path) -> None:
    start = time.perf_counter()
    _, samples = _latency(Decider(100e-6), tmp_path, latency_s=0.1, gauge_limit_ns=1.0)
    assert 0.3 <= time.perf_counter() - start < 5.0  # three times as long
    assert len(samples["chunk_ends"]) > 10


def test_a_million_samples_end_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_MOST_SAMPLES", 1000)
    _, samples = _latency(lambda observations: None, tmp_path, latency_s=5.0)
    assert 1000 <= len(samples["nanoseconds"]) < 100_000
    assert samples["chunk_ends"][-1] == len(samples["nanoseconds"])


def _consistent(energy: dict[str, Any]) -> None:
    chunks = len(energy["seconds"])
    assert chunks == len(energy["cpu_seconds"]) == len(energy["decisions"])
    assert len(energy["gauges"]) == chunks + 1
    assert energy["joules"] is None or len(energy["joules"]) == chunks


def test_without_a_meter_there_is_cpu_time_and_no_joules() -> None:
    decider = Decider(100e-6)
    found = measure_energy(decider, INPUTS, _job())
    assert found["meter"] is None
    assert (found["energy"]["joules"], found["energy"]["idle_watts"]) == (None, None)
    assert found["episodes"] is None
    _consistent(found["energy"])
    per_decision = sum(found["energy"]["cpu_seconds"]) / sum(found["energy"]["decisions"])
    # What the decider took itself: on a busy machine that is less than the 100 microseconds.
    assert 0.9 < per_decision / (decider.cpu_s / len(decider.seen)) < 3


def test_a_batch_counts_as_so_many_decisions() -> None:
    decider = Decider(100e-6)
    energy = measure_energy(decider, INPUTS, _job(batch=7))["energy"]
    assert sum(energy["decisions"]) == 7 * len(decider.seen)


def _metered(
    monkeypatch: pytest.MonkeyPatch, *, machine_wide: bool, act: Any = None, **settings: Any
) -> tuple[dict[str, Any], FakeMeter]:
    decider = Decider(200e-6)
    meter = FakeMeter(machine_wide=machine_wide, deciding=lambda: decider.spent_s)
    monkeypatch.setattr(choose, "open_meter", lambda config: meter)
    monkeypatch.setattr(measuring, "_SETTLE_S", 0.0)
    config = {"name": "fake", "settings": {}}
    return measure_energy(act or decider, INPUTS, _job(meter=config, **settings)), meter


def test_a_machine_s_idle_power_is_taken_first_and_decisions_in_one_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, meter = _metered(monkeypatch, machine_wide=True)
    energy = found["energy"]
    assert found["meter"] == {"source": "a fake sensor", "estimated": False}
    assert energy["idle_watts"] == pytest.approx(10.0, rel=0.05)
    _consistent(energy)
    assert len(energy["seconds"]) == 1
    assert energy["seconds"][0] >= 0.05
    # Decisions take 2 W beside the 10 W of idling, nearly all of the time. On a busy machine the
    # process may wait between the clock and the meter.
    assert energy["joules"][0] == pytest.approx(12.0 * energy["seconds"][0], rel=0.3)
    assert meter.readings == 4  # around idling and around the decisions


def test_a_meter_of_this_process_alone_is_read_around_every_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = _metered(monkeypatch, machine_wide=False)
    energy = found["energy"]
    assert energy["idle_watts"] is None
    _consistent(energy)
    assert len(energy["seconds"]) > 1  # how many depends on what else the machine does
    assert min(energy["joules"]) > 0
    # On a busy machine the process may wait between the clock and the meter.
    assert math.fsum(energy["joules"]) == pytest.approx(12.0 * sum(energy["seconds"]), rel=0.5)


@pytest.mark.parametrize("machine_wide", [True, False])
def test_a_window_is_as_long_as_the_sensor_needs(
    machine_wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeMeter, "min_window_s", 0.2)
    found, _ = _metered(monkeypatch, machine_wide=machine_wide, energy_s=0.01)
    assert sum(found["energy"]["seconds"]) >= 0.18


EPISODES = {"env_id": "CartPole-v1", "env_kwargs": {}, "seed": 3, "path": "."}


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is appended to the module path does not stay."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def _push_left(observations: Any) -> Any:
    return np.zeros(1, np.int64)


@pytest.mark.usefixtures("path")
def test_complete_episodes_are_played_one_after_the_other() -> None:
    episodes = measure_energy(_push_left, INPUTS, _job(episodes=EPISODES))["episodes"]
    # Pushed to the left whatever happens, the pole falls after some ten steps.
    assert len(episodes["lengths"]) > 5
    assert all(5 <= length <= 15 for length in episodes["lengths"])
    assert list(episodes["returns"]) == [float(length) for length in episodes["lengths"]]
    assert 0 < episodes["acting_s"] < episodes["seconds"]
    assert episodes["seconds"] >= 0.05
    assert (episodes["joules"], episodes["idle_watts"]) == (None, None)


@pytest.mark.usefixtures("path")
def test_at_least_one_episode_is_played_to_its_end() -> None:
    job = _job(energy_s=1e-6, episodes=EPISODES)
    assert len(measure_energy(_push_left, INPUTS, job)["episodes"]["lengths"]) == 1


@pytest.mark.usefixtures("path")
def test_episodes_have_the_idle_power_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found, meter = _metered(monkeypatch, act=_push_left, machine_wide=True, episodes=EPISODES)
    assert found["episodes"]["idle_watts"] == found["energy"]["idle_watts"]
    assert found["episodes"]["joules"] == pytest.approx(10 * found["episodes"]["seconds"], rel=0.1)
    assert meter.readings == 6


@pytest.mark.usefixtures("path")
def test_an_environment_that_fails_costs_the_episodes_only() -> None:
    broken = EPISODES | {"env_kwargs": {"nonsense": 1}}
    found = measure_energy(_push_left, INPUTS, _job(episodes=broken))
    assert found["episodes"] is None
    assert "nonsense" in found["episodes_problem"]
    _consistent(found["energy"])


@pytest.mark.parametrize(
    ("count", "batch", "batches"),
    [
        (10, 1, 10),
        (10, 3, 3),
        (10, 10, 1),
        (10, 25, 1),
        (5000, 1, 4096),
        (5000, 4096, 1),
        (2, 7, 1),
    ],
)
def test_batches_are_consecutive_observations(
    count: int, batch: int, batches: int, tmp_path: Path
) -> None:
    seen: Floats = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    np.save(tmp_path / "seen.npy", seen)
    inputs = measuring._inputs(str(tmp_path / "seen.npy"), batch)
    assert len(inputs) == batches
    assert all(one.shape == (batch, 2) and one.dtype == np.float32 for one in inputs)
    rows = np.concatenate(inputs)[:, 0] / 2
    np.testing.assert_array_equal(rows, np.arange(len(rows)) % count)
    assert all(one.flags.c_contiguous and one.flags.writeable for one in inputs)
