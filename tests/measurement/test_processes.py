from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from made_profiles import GAUGE_NS, STAGES
from small_policies import demo_network, demo_observations, make_artifact
from squeezerl.errors import MeasurementError
from squeezerl.host.cores import cores_for
from squeezerl.measurement import processes
from squeezerl.measurement.measuring import gauge_times
from squeezerl.measurement.meters.choose import MeterConfig
from squeezerl.measurement.processes import ProbeJob, run_probe
from squeezerl.measurement.result import Meter, ProcessRecord
from squeezerl.measurement.settings import EpisodesJob
from squeezerl.records import to_json
from squeezerl.runtimes.base import RUNTIMES, Payload

pytestmark = pytest.mark.slow

LIBRARY = {"ort": "onnxruntime", "torch": "torch", "sb3": "stable_baselines3"}
OTHERS = {
    "ort": {"torch", "onnx", "stable_baselines3", "gymnasium", "scipy"},
    "torch": {"onnxruntime", "onnx", "stable_baselines3", "gymnasium"},
    "sb3": {"onnxruntime", "onnx", "torch_pruning"},
}
# Notes which modules are there whenever the memory is read.
WATCHED = """
import json, sys
from squeezerl.measurement import measuring
read, seen = measuring.memory_now, []
def watch():
    seen.append(sorted(sys.modules))
    return read()
measuring.memory_now = watch
measuring.run_job(read(), *sys.argv[1:4])
open(sys.argv[4], "w").write(json.dumps(seen))
"""


def _job(folder: Path, runtime: str = "ort", **settings: Any) -> ProbeJob:
    """A short one: the bundled agent on observations that it really sees."""
    inputs = folder / "inputs"
    inputs.mkdir(exist_ok=True)
    np.save(inputs / "seen.npy", settings.pop("seen", demo_observations()))
    Payload.of(make_artifact(demo_network(), "float")).save(inputs / "payload")
    job = ProbeJob(
        runtime=runtime,
        algorithm="ppo",
        payload=inputs / "payload",
        observations=inputs / "seen.npy",
        batch=1,
        threads=1,
        warmup_s=0.01,
        latency_s=0.04,
        energy_s=0.04,
        meter=None,
        episodes=None,
    )
    return dataclasses.replace(job, **settings)


def _usual_gauge() -> float:
    return float(np.quantile(gauge_times(0.05), 0.02))


@dataclass(frozen=True)
class Life:
    """What a measuring process wrote, and the modules that it had at each stage."""

    result: dict[str, Any]
    samples: dict[str, Any]
    modules: list[set[str]]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Life]:
    """A process for each runtime."""
    found = {}
    for runtime in LIBRARY:
        folder = tmp_path_factory.mktemp(runtime)
        data = to_json(_job(folder, runtime)) | {
            "payload": str(folder / "inputs" / "payload"),
            "observations": str(folder / "inputs" / "seen.npy"),
            "cores": cores_for(1),
            "gauge_limit_ns": 1.1 * _usual_gauge(),
        }
        files = [folder / name for name in ("job.json", "result.json", "samples.npz", "modules")]
        files[0].write_text(json.dumps(data))
        subprocess.run([sys.executable, "-P", "-c", WATCHED, *files], check=True, timeout=100)
        with np.load(files[2]) as samples:
            found[runtime] = Life(
                json.loads(files[1].read_text()),
                dict(samples),
                [set(names) for names in json.loads(files[3].read_text())],
            )
    return found


@pytest.mark.parametrize("runtime", LIBRARY)
def test_a_process_imports_its_runtime_and_nothing_else(
    runtime: str, lives: dict[str, Life]
) -> None:
    instrument, imported, *_, last = lives[runtime].modules
    assert not instrument & {"numpy", "psutil", *LIBRARY.values(), *OTHERS[runtime]}
    assert LIBRARY[runtime] in imported
    assert not last & OTHERS[runtime]
    assert "squeezerl.measurement.meters.meter" not in last


@pytest.mark.parametrize("runtime", LIBRARY)
def test_the_runtime_is_imported_as_a_whole_before_the_policy_is_loaded(
    runtime: str, lives: dict[str, Life]
) -> None:
    # What comes later would count as the model's.
    _, imported, *_, last = lives[runtime].modules
    late = {name.partition(".")[0] for name in last - imported}
    large = {"numpy", "onnxruntime", "stable_baselines3", "gymnasium", "sympy", "mpmath", "optree"}
    assert not late & large
    assert len(last - imported) < 30


@pytest.mark.parametrize("runtime", LIBRARY)
def test_memory_is_read_in_the_order_of_a_life(runtime: str, lives: dict[str, Life]) -> None:
    memory = lives[runtime].result["memory"]
    assert tuple(memory) == STAGES
    resident = [memory[stage]["rss_bytes"] for stage in STAGES]
    assert resident[0] > 2**20
    assert resident[2] > resident[1] + 10 * 2**20  # importing a runtime takes memory
    assert resident[-1] > resident[3]
    for stage in STAGES:
        assert (memory[stage]["anonymous_bytes"] or 0) <= memory[stage]["rss_bytes"]
        assert (memory[stage]["uss_bytes"] or 0) <= memory[stage]["rss_bytes"]


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is not told")
@pytest.mark.parametrize("runtime", LIBRARY)
def test_the_policy_is_small_beside_its_runtime(runtime: str, lives: dict[str, Life]) -> None:
    memory = lives[runtime].result["memory"]
    before, after = (memory[stage]["anonymous_bytes"] for stage in ("inputs", "many_actions"))
    assert 0 < after - before < 16 * 2**20
    assert after - before < memory["imported"]["rss_bytes"] / 4


def test_torch_takes_more_memory_and_time_than_onnx_runtime(lives: dict[str, Life]) -> None:
    def runtime_of(name: str) -> int:
        memory = lives[name].result["memory"]
        return int(memory["imported"]["rss_bytes"] - memory["instrument"]["rss_bytes"])

    assert runtime_of("sb3") > runtime_of("torch") > 2 * runtime_of("ort") > 2 * 2**20
    imports = {name: life.result["startup"]["import_s"] for name, life in lives.items()}
    assert imports["torch"] > imports["ort"] > 0


@pytest.mark.parametrize("runtime", LIBRARY)
def test_figures_fit_together(runtime: str, lives: dict[str, Life]) -> None:
    life = lives[runtime]
    times, ends, gauges = (life.samples[k] for k in ("nanoseconds", "chunk_ends", "gauges"))
    assert (np.diff(ends, prepend=0) > 0).all()
    assert ends[-1] == len(times)
    assert len(gauges) == len(ends) + 1
    assert times.min() > 0
    energy = life.result["energy"]
    chunks = {len(energy[key]) for key in ("seconds", "cpu_seconds", "decisions")}
    assert chunks == {len(energy["gauges"]) - 1}
    assert min(energy["seconds"]) > 0
    assert min(energy["decisions"]) > 0
    assert (energy["joules"], energy["idle_watts"]) == (None, None)
    assert life.result["meter"] is None
    assert (life.result["episodes"], life.result["episodes_problem"]) == (None, None)
    assert life.result["gpu_memory_bytes"] is None
    assert min(life.result["startup"].values()) > 0
    assert 0 < life.result["cpu_share"] <= 1.1


@pytest.mark.parametrize("runtime", LIBRARY)
def test_one_decision_works_in_a_few_layers_memory(runtime: str, lives: dict[str, Life]) -> None:
    # The widest layers of the bundled agent have 128 neurons.
    assert 4 * 128 <= lives[runtime].result["working_bytes"] <= 20 * 4 * 128


def test_sb3_takes_longer_than_torch_and_torch_longer_than_onnx_runtime(
    lives: dict[str, Life],
) -> None:
    medians = [np.median(lives[name].samples["nanoseconds"]) for name in ("ort", "torch", "sb3")]
    assert medians == sorted(medians)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


INPUTS = {
    *("inputs", "inputs/seen.npy", "inputs/payload", "inputs/payload/network.npz"),
    *("inputs/payload/policy.onnx", "inputs/payload/algorithm"),
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ProcessRecord:
    """A process that also had a meter."""
    folder = tmp_path_factory.mktemp("record")
    meter = MeterConfig(name="cpu-time", settings={"watts_per_core": 4.0, "how": "given"})
    found = run_probe(_job(folder, meter=meter), 7, _usual_gauge(), folder)
    assert _files(folder) == INPUTS
    return found


def test_a_record_says_what_the_process_wrote(record: ProcessRecord) -> None:
    assert record.round == 7
    latency = record.latency
    assert len(latency.gauges) == len(latency.chunk_ends) + 1
    assert latency.chunk_ends[-1] == len(latency.nanoseconds)
    assert record.working_bytes is not None
    assert record.episodes is None


def test_records_are_immutable_down_to_their_arrays(record: ProcessRecord) -> None:
    assert record.energy.joules is not None
    for array in (record.latency.nanoseconds, record.latency.gauges, record.energy.joules):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_estimated_joules_are_the_watts_times_the_cpu_time(record: ProcessRecord) -> None:
    assert record.meter is not None
    assert record.meter.estimated
    assert "4 W per core" in record.meter.source
    energy = record.energy
    assert energy.joules is not None
    assert energy.idle_watts is None
    assert energy.joules.sum() == pytest.approx(4.0 * energy.cpu_seconds.sum(), rel=0.02)
    assert energy.cpu_seconds.sum() <= 1.05 * energy.seconds.sum()
    assert energy.seconds.sum() >= 0.9  # the meter's shortest window is a second


# What follows needs no library: a runtime that does what the test wants.
RUNTIME = """
import json, os, signal, sys, time
from pathlib import Path
from squeezerl.errors import MeasurementError
from squeezerl.runtimes.base import RUNTIMES, Actor, Runtime

class FakeActor(Actor):
    def __init__(self, network):
        super().__init__(network)
        self.calls = []
    def act(self, observations, rows=None):
        if len(self.calls) < 20:
            self.calls.append(observations.tolist())
        {act}
        return observations[:, 0]
    def working_bytes(self, observations):
        facts = dict(
            calls=self.calls, threads=os.environ["OMP_NUM_THREADS"],
            cores=sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        )
        Path(__file__).with_name("facts.json").write_text(json.dumps(facts))

class FakeRuntime(Runtime):
    name = "fake"
    def load(self, deployed, *, threads=1):
        {load}
        return FakeActor(deployed.network)

RUNTIMES.register("fake", FakeRuntime())
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes such a runtime, whose body is given, in a plugin, and a folder for its processes."""
    modules = tmp_path / "modules"
    modules.mkdir()
    # This process imports the plugin, too, and forgets it again.
    for name in ("fake_runtime", "wall_plug"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(RUNTIMES, "_things", {runtime.name: runtime for runtime in RUNTIMES})

    def make(*, act: str = "pass", load: str = "pass") -> Path:
        text = RUNTIME.replace("{act}", act).replace("{load}", load)
        (modules / "fake_runtime.py").write_text(text)
        monkeypatch.setenv("SQUEEZERL_PLUGINS", str(modules / "fake_runtime.py"))
        folder = tmp_path / "work"
        folder.mkdir()
        return folder

    return make


def _fake_job(folder: Path, **settings: Any) -> ProbeJob:
    return _job(folder, "fake", **settings)


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder.parent / "modules" / "facts.json").read_text())
    return facts


def _fails(folder: Path, message: str, **settings: Any) -> MeasurementError:
    before = psutil.Process().children()
    with pytest.raises(MeasurementError, match=message) as caught:
        run_probe(_fake_job(folder, **settings), 0, GAUGE_NS, folder)
    assert _files(folder) == INPUTS
    assert psutil.Process().children() == before
    return caught.value


def test_decisions_are_on_the_recorded_observations_in_their_order(fake: Any) -> None:
    folder = fake()
    seen = np.arange(30, dtype=np.float32).reshape(10, 3)
    run_probe(_fake_job(folder, seen=seen, batch=2), 0, GAUGE_NS, folder)
    facts = _facts(folder)
    first, *many = facts["calls"]
    assert first == seen[:2].tolist()
    # The first action has a row of its own; then all rows, again and again.
    wanted = [seen[start : start + 2].tolist() for start in range(0, 10, 2)] * 4
    assert many == wanted[: len(many)]


def test_a_process_is_pinned_and_its_libraries_get_as_many_threads(fake: Any) -> None:
    folder = fake()
    run_probe(_fake_job(folder), 0, GAUGE_NS, folder)
    facts = _facts(folder)
    assert facts["threads"] == "1"
    assert facts["cores"] == cores_for(1)


def test_what_a_runtime_prints_disturbs_nothing(fake: Any) -> None:
    folder = fake(load="print('x' * 10**6); print('y' * 10**6, file=sys.stderr)")
    assert run_probe(_fake_job(folder), 0, GAUGE_NS, folder).round == 0


def test_a_runtime_that_cannot_run_the_policy_says_why(fake: Any) -> None:
    _fails(fake(load="raise MeasurementError('not this one')"), "^not this one$")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"load": "raise ValueError('a broken payload')"}, "ValueError: a broken payload"),
        ({"act": "len(self.calls) > 5 and 1 / 0"}, "ZeroDivisionError: division by zero"),
        (
            {"load": "os.kill(os.getpid(), signal.SIGKILL)"},
            r"-9 \(killed.*\): no message",
        ),
        ({"load": "sys.exit(0)"}, "ended with 0: no message"),
    ],
)
def test_a_process_that_fails_is_an_error_with_its_last_words(
    how: dict[str, str], message: str, fake: Any
) -> None:
    error = _fails(fake(**how), message)
    assert "the measuring process ended with" in str(error)
    assert len(str(error).splitlines()) == 1
    assert "[" not in str(error)


def test_half_a_result_is_an_error(fake: Any) -> None:
    act = "Path(sys.argv[2]).write_text('{\"memory\": '); os._exit(3)"
    _fails(fake(act=act), "ended with 3")


def test_a_process_that_hangs_is_ended(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(processes, "_SLACK", 0.0)
    start = time.monotonic()
    _fails(fake(load="time.sleep(100)"), "did not end within")
    assert time.monotonic() - start < 20


def test_a_damaged_model_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    job = _job(tmp_path)
    model = job.payload / "policy.onnx"
    model.write_bytes(model.read_bytes()[:-50])
    with pytest.raises(MeasurementError, match="ONNX Runtime cannot load the model"):
        run_probe(job, 0, GAUGE_NS, tmp_path)
    assert _files(tmp_path) == INPUTS


def test_nothing_in_the_current_folder_is_imported(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake()
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    run_probe(_fake_job(folder), 0, GAUGE_NS, folder)


METER = """
from squeezerl.measurement.meters.meter import METERS, EnergyMeter

class WallPlugMeter(EnergyMeter):
    name = "wall-plug"
    reads = "the wall plug"
    machine_wide = False
    min_window_s = 0.01
    description = "a smart plug"

    def __init__(self):
        self.joules = 0.0

    def read_j(self):
        self.joules += 1.0
        return self.joules

METERS.register(WallPlugMeter.name, WallPlugMeter)
"""


def test_a_meter_of_a_plugin_measures(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake()
    plugins = [folder.parent / "modules" / name for name in ("fake_runtime.py", "wall_plug.py")]
    plugins[1].write_text(METER)
    job = _fake_job(folder, meter=MeterConfig(name="wall-plug"))
    monkeypatch.setenv("SQUEEZERL_PLUGINS", os.pathsep.join(map(str, plugins)))
    record = run_probe(job, 0, GAUGE_NS, folder)
    assert record.meter == Meter(source="a smart plug", estimated=False)
    assert record.energy.joules is not None
    assert set(record.energy.joules) == {1.0}  # it counts one with each reading


TASK = """
import gymnasium
import numpy as np

class Task(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length = 3 + seed % 2
        return np.zeros(3), {}
    def step(self, action):
        self.left -= 1
        return np.zeros(3), 0.5, self.left == 0, False, {}

gymnasium.register("Task-v0", Task)
"""


def test_episodes_are_complete_and_begin_with_their_seed(fake: Any, tmp_path: Path) -> None:
    folder = fake()
    (tmp_path / "my_task.py").write_text(TASK)
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    wanted = EpisodesJob(env_id="my_task:Task-v0", env_kwargs={}, seed=11, path=str(tmp_path))
    window = run_probe(_fake_job(folder, episodes=wanted), 0, GAUGE_NS, folder).episodes
    assert window is not None
    count = len(window.lengths)
    assert count >= 2
    assert window.lengths == tuple(3 + (11 + number) % 2 for number in range(count))
    assert window.returns == tuple(length / 2 for length in window.lengths)
    assert 0 < window.acting_s < window.seconds
    assert window.joules is None
