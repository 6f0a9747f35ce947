from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from command import COMMAND, environment, invoke, the_object, tree
from rich.console import Console

from made_profiles import make_noise, make_process
from promised_keys import lost_keys
from squeezerl.cli import console
from squeezerl.measurement import doctor
from squeezerl.measurement import profile as profiling
from squeezerl.measurement.processes import ProbeJob
from squeezerl.measurement.result import ProcessRecord

pytestmark = pytest.mark.slow

PATIENCE_S = 100
QUICK = ("--seconds", "0.1", "--precision", "1")


@pytest.fixture
def seen(own_folder: Path) -> str:
    """A recording for the bundled agent."""
    np.save(own_folder / "seen.npy", np.random.default_rng(0).normal(size=(40, 17)))
    return "seen.npy"


@pytest.fixture
def temporary(own_folder: Path) -> Path:
    """Where processes may put what they need for a while."""
    folder = own_folder.parent / "temporary"
    folder.mkdir()
    return folder


def _left(temporary: Path) -> list[str]:
    # ONNX Runtime has a file of its own there, for its telemetry.
    return [path.name for path in temporary.iterdir() if path.name != ".ses"]


def test_profile_prints_what_it_writes_and_leaves_nothing_else(
    seen: str, temporary: Path, own_folder: Path
) -> None:
    (own_folder / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    before = set(tree(own_folder))
    result = subprocess.run(
        [COMMAND, "profile", "demo", "--observations", seen, "--runtime", "ort", "--energy", "none",
         *QUICK, "-o", "profile.json", "--samples", "samples.npz", "--json"],
        capture_output=True,
        text=True,
        env=environment() | {"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    data = the_object(result.stdout)
    assert json.loads((own_folder / "profile.json").read_text()) == data
    assert set(tree(own_folder)) - before == {"profile.json", "samples.npz"}
    assert _left(temporary) == []

    (row,) = data["rows"]
    assert (row["artifact"], row["runtime"]) == ("demo", "ort")
    assert (row["env_id"], row["problem"], row["episodes"]) == (None, None, None)
    latency = row["latency_s"]
    low, high = latency["ci95"]
    assert 1e-6 < low <= latency["median"] <= high < 1e-2
    assert latency["median"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert 6 <= latency["processes"] <= 12
    assert row["memory_bytes"]["total"] > 10 * 2**20
    assert (row["energy_j_per_decision"], data["energy_problem"]) == (None, "not asked for")
    assert row["cpu_s_per_decision"]["mean"] > 0
    with np.load(own_folder / "samples.npz", allow_pickle=False) as samples:
        assert len(samples.files) == 3 * latency["processes"]
        total = sum(len(samples[name]) for name in samples.files if name.endswith("nanoseconds"))
    assert total >= latency["samples"] > 0


@pytest.mark.usefixtures("fewest_processes")
def test_a_profile_with_episodes_has_all_keys(balancing_zip: Path) -> None:
    short = ("--env", "CartPole-v1", "--env-kwargs", "max_episode_steps:50")
    episodes = ("--runtime", "ort", "--episodes", *QUICK, *short)
    result = invoke("profile", balancing_zip, *episodes, "--json")
    assert result.exit_code == 0, result.stderr
    assert lost_keys("profile", the_object(result.stdout)) == set()


# In this process, where the processes that measure are replaced.


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[ProbeJob]:
    """What processes were asked to do; none was started."""
    asked: list[ProbeJob] = []

    def answer(job: ProbeJob, round_: int, gauge: float, folder: Path) -> ProcessRecord:
        asked.append(job)
        return make_process(round_, joules=job.meter and job.meter.settings["watts_per_core"])

    monkeypatch.setattr(profiling, "run_probe", answer)
    return asked


def test_profile_shows_a_table_and_what_to_know(jobs: list[ProbeJob], seen: str) -> None:
    invoke("compress", "demo", "--method", "ptdq", "-o", "small[bold]")
    result = invoke("profile", "demo", "small[bold]", "--observations", seen, "--energy", "none")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    for title in ("policy", "latency [95 %]", "memory: runtime", "J/decision"):
        assert title in lines[0]
    rows = [line.split() for line in lines[1:7]]
    assert [row[:2] for row in rows] == [
        [name, runtime] for name in ("demo", "small[bold]") for runtime in ("ort", "torch", "sb3")
    ]
    assert "20.0 µs [20.0, 20.0]" in lines[1]
    assert "small[bold] in torch, small[bold] in sb3: the model is quantized" in result.stdout
    assert "no energy: not asked for" in result.stdout
    assert "the reference is demo in ort" in result.stdout
    assert len(jobs) == 4 * 6


def test_an_estimate_says_so_in_its_title(jobs: list[ProbeJob], seen: str) -> None:
    result = invoke(
        "profile", "demo", "--runtime", "ort", "--observations", seen, "--watts-per-core", "5"
    )
    assert "J/decision, estimate" in result.stdout
    assert {job.meter.settings["watts_per_core"] for job in jobs if job.meter} == {5.0}
    assert len([job for job in jobs if job.meter]) == 6


def test_options_reach_the_processes(jobs: list[ProbeJob], seen: str) -> None:
    result = invoke(
        "profile", "demo", "--runtime", " ort , torch ", "--batch", "4", "--seconds", "0.6",
        "--observations", seen, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {job.batch for job in jobs} == {4}
    assert [job.latency_s for job in jobs] == pytest.approx([0.1] * 12)
    assert [row["runtime"] for row in the_object(result.stdout)["rows"]] == ["ort", "torch"]


def test_the_json_alone_is_printed(jobs: list[ProbeJob], seen: str) -> None:
    result = invoke("profile", "demo", "--runtime", "ort", "--observations", seen, "--json")
    data = the_object(result.stdout)
    assert data.keys() >= {"host", "rows", "energy_problem"}
    assert result.stderr == ""


@pytest.mark.parametrize("existing", [True, False])
def test_the_file_holds_this_run_alone_and_is_replaced_as_a_whole(
    existing: bool, jobs: list[ProbeJob], seen: str, own_folder: Path
) -> None:
    profile = ("profile", "demo", "--runtime", "ort", "--observations", seen)
    if existing:
        (own_folder / "new.json").write_text("something longer than that" * 10_000)
    assert invoke(*profile, "-o", "old.json").exit_code == 0
    result = invoke(*profile, "--beside", "old.json", "-o", "new.json")
    assert result.exit_code == 0, result.output
    written = json.loads((own_folder / "new.json").read_text())
    assert len(written["rows"]) == 1
    shown = [line.split()[:2] for line in result.stdout.splitlines()[1:3]]
    assert shown == [["demo", "ort"], ["demo", "(old)"]]
    assert set(tree(own_folder)) == {"seen.npy", "old.json", "new.json"}


def test_profiles_of_the_same_name_stand_beside_each_other(
    jobs: list[ProbeJob], seen: str, own_folder: Path
) -> None:
    profile = ("profile", "demo", "--runtime", "ort", "--observations", seen)
    for name in ("a", "b"):
        (own_folder / name).mkdir()
        assert invoke(*profile, "-o", f"{name}/profile.json").exit_code == 0
    result = invoke(*profile, "--beside", "a/profile.json", "--beside", "b/profile.json", "--json")
    rows = the_object(result.stdout)["rows"]
    assert len(rows) == 3
    assert len({row["artifact"] for row in rows}) == 3


def test_what_fails_late_leaves_what_stood_there(
    seen: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(job: ProbeJob, *_: Any) -> ProcessRecord:
        raise KeyboardInterrupt

    monkeypatch.setattr(profiling, "run_probe", interrupt)
    (own_folder / "profile.json").write_text("precious")
    before = tree(own_folder)
    result = invoke("profile", "demo", "--observations", seen, "-o", "profile.json")
    assert result.exit_code == 130
    assert "interrupted; nothing was written" in result.stderr
    assert tree(own_folder) == before


def test_a_name_with_markup_does_not_break_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress_bar("profile") as update:
        update("[/bold] in ort", 0.5)
        time.sleep(0.2)
    assert "[/bold] in ort" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_profile_leaves_no_file_and_no_process(
    seen: str, temporary: Path, own_folder: Path, number: int, code: int
) -> None:
    before = tree(own_folder)
    with subprocess.Popen(
        [COMMAND, "profile", "demo", "--runtime", "ort", "--seconds", "60", "--json",
         "--observations", seen, "-o", "profile.json", "--samples", "samples.npz"],
        env=environment() | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not (probes := psutil.Process(process.pid).children()):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.5)
            os.kill(process.pid, number)
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == code
    assert stdout == ""
    assert "Traceback" not in stderr
    assert tree(own_folder) == before
    assert _left(temporary) == []
    # They were killed; who is left is a zombie until init has looked.
    _, alive = psutil.wait_procs(probes, timeout=5)
    assert [probe for probe in alive if probe.status() != psutil.STATUS_ZOMBIE] == []


def test_doctor_shows_what_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "measure_noise", lambda: make_noise(cpu_share=0.5))
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    for text in (
        "processor", "governor", "usually", "10.0 µs", "ort", "torch-cuda", "rapl", "nvml",
        "squeezerl profile will take energy from:", "other work takes 50% of a core",
    ):  # fmt: skip
        assert text in result.stdout
    assert "None" not in result.stdout


def test_doctor_prints_one_object_and_leaves_nothing(
    temporary: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    look = doctor.measure_noise
    monkeypatch.setattr(doctor, "measure_noise", lambda: look(0.05))
    result = invoke("doctor", "--json")
    assert _left(temporary) == list(own_folder.iterdir()) == []
    assert result.exit_code == 0, result.stderr
    data = the_object(result.stdout)
    assert result.stderr == ""
    assert lost_keys("doctor", data) == set()
    assert data.keys() == {
        "host", "noise", "runtimes", "sensors", "energy", "energy_problem", "advice",
    }  # fmt: skip
    assert len(data["host"]["id"]) == 8
    assert 0 < data["noise"]["usual_s"] <= data["noise"]["median_s"] <= data["noise"]["max_s"]
    assert {runtime["name"] for runtime in data["runtimes"]} == {
        "ort",
        "native",
        "torch",
        "torch-cuda",
        "sb3",
    }
    assert (data["energy"] is None) == (data["energy_problem"] is not None)


def test_doctor_takes_no_policy() -> None:
    result = invoke("doctor", "demo")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
