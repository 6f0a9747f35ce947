from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from made_profiles import make_noise
from squeezerl.errors import MeasurementError
from squeezerl.measurement import noise
from squeezerl.measurement.measuring import gauge_ns, gauge_times
from squeezerl.measurement.noise import measure_noise


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Of the processes that are started."""
    started = []
    run = subprocess.run

    def spy(command: list[str], **options: Any) -> Any:
        started.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    return started


def test_a_short_look_at_this_machine(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    found = measure_noise(0.2)
    assert 0 < found.usual_s <= found.median_s <= found.p99_s <= found.max_s < 10
    assert 0 <= found.disturbed_share <= 1
    assert 0 < found.cpu_share <= 1.05
    assert found.steal_share is None or 0 <= found.steal_share <= 1
    if hasattr(os, "sched_getaffinity"):  # the core that profiles are pinned to
        assert [command[-1] for command in commands] == [str(max(os.sched_getaffinity(0)))]


def test_the_gauge_takes_some_ten_thousand_nanoseconds() -> None:
    times = gauge_times(0.05)
    assert len(times) > 100
    assert 1_000 < min(times) < 200_000
    assert gauge_ns() > 0


def test_without_any_time_the_gauge_is_taken_exactly_once() -> None:
    assert len(gauge_times(0.0)) == 1


def test_a_quiet_machine_is_no_trouble() -> None:
    assert make_noise().trouble is None


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"cpu_share": 0.9}, "other work takes 10% of a core"),
        ({"disturbed_share": 0.5}, "slowed down 50% of the time"),
        ({"cpu_share": 0.5, "disturbed_share": 0.9}, "other work takes 50% of a core"),
    ],
)
def test_trouble_says_what_it_is(figures: dict[str, float], text: str) -> None:
    trouble = make_noise(**figures).trouble
    assert trouble is not None
    assert text in trouble


@pytest.mark.parametrize(
    "figures", [{"cpu_share": 0.985}, {"disturbed_share": 0.19}, {"max_s": 1.0}]
)
def test_what_every_machine_has_is_no_trouble(figures: dict[str, float]) -> None:
    assert make_noise(**figures).trouble is None


def test_unknown_steal_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {name: value for name, value in vars(make_noise()).items() if name != "steal_share"}
    ended = subprocess.CompletedProcess([], 0, json.dumps(answer), "")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ended)
    monkeypatch.setattr(noise, "_steal", lambda: None)
    assert measure_noise() == make_noise(steal_share=None)


def test_a_process_that_fails_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "cores_for", lambda threads: [100_000])  # no such core
    with pytest.raises(MeasurementError, match="the measuring process failed"):
        measure_noise(0.01)


def test_a_process_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_PATIENCE_S", -4.9)
    with pytest.raises(MeasurementError, match="did not end"):
        measure_noise(5.0)
