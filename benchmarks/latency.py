"""Microseconds and joules per decision: SB3, torch, ONNX Runtime, C of emx-onnx-cgen, and ours.

For each network all are measured in turn, several rounds in one process, so that ratios are of the
same minutes. Each figure is the median over the rounds of the fastest of many short runs. "c" is
the time inside C, "native" that of a call from Python. Shapes have random weights; agents are
published ones and the policy of a robot, or "demo" where these are absent, and are also run on an
emulated Cortex-M4 where that is installed.
Besides: the memory of a fresh process with a native actor, and of a plain C program. Prints JSON:

    python benchmarks/latency.py
    python benchmarks/latency.py --shape 17-256-256-6 --rounds 9
    python benchmarks/latency.py --agents --watts-per-core 4.4   # what compression buys
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.agents.load import demo_agent_path, load_agent
from squeezerl.api import as_artifact
from squeezerl.artifacts.artifact import Artifact
from squeezerl.errors import SqueezeRLError
from squeezerl.evaluation.environment import Environment
from squeezerl.formats.base import FORMATS
from squeezerl.formats.c.program import c_program
from squeezerl.host.compiler import find_compiler, run_compiler
from squeezerl.host.facts import host_facts
from squeezerl.measurement.meters.choose import MeterConfig, choose_meter, open_meter
from squeezerl.measurement.microcontroller import measure_microcontroller
from squeezerl.methods.base import Given
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Head, Layer, Network, Normalizer
from squeezerl.pipeline.make import recorded_observations
from squeezerl.records import to_json
from squeezerl.runtimes.base import RUNTIMES, Payload
from squeezerl.runtimes.native import NativeActor, levels

SHAPES = ("17-32-32-6", "17-64-64-6", "17-256-256-6", "376-400-300-17", "45-512-256-128-12")
RECIPES = {
    "float": "float",
    "int8": "int8:static",
    "int8_dynamic": "int8:dynamic",
    "bits4": "bits:4",
    "pruned_int8": "prune:l2:0.5 | int8:static",
}
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Agent → environment.
AGENTS = {
    "agents/sac/HalfCheetah-v3_1": "HalfCheetah-v4",
    "agents/ppo/HalfCheetah-v3_1": "HalfCheetah-v4",
    "agents/trpo/Hopper-v3_1": "Hopper-v4",
    "robots/go2-robot_lab.pt": "examples.go2:Go2-v0",
}
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-w")
# Calls in one run: few enough that another process seldom comes between.
CALLS = 50
RUN_S = 0.15
ENERGY_S = 0.2

# Does a number of decisions and says how many seconds they took.
Work = Callable[[int], float]


@dataclass(frozen=True)
class Agent:
    """A trained policy and the id of the environment that it is for."""

    path: str
    env_id: str

    @property
    def name(self) -> str:
        """Algorithm and environment, or folder and file."""
        return "/".join(Path(self.path).parts[-2:])

    def read(self) -> tuple[Artifact, Environment, Any]:
        """It in float, its environment, and observations of an episode."""
        robot = {"xml": str(SHARED / "robots" / "go2.xml")} if "Go2" in self.env_id else None
        environment = Environment.find(self.env_id, robot)
        artifact = as_artifact(load_agent(self.path))
        return artifact, environment, recorded_observations(artifact, environment)


def find_agents() -> list[Agent]:
    """Those that are here, or our own."""
    sys.path.append(str(ROOT))  # for the environment among the examples
    found = [Agent(str(SHARED / name), env) for name, env in AGENTS.items()]
    return [agent for agent in found if Path(agent.path).exists()] or [
        Agent(str(demo_agent_path()), "HalfCheetah-v5")
    ]


def make_network(shape: str) -> Network:
    """Random weights, ReLU, a normaliser and bounds, as PPO's agents have them."""
    widths = [int(width) for width in shape.split("-")]
    rng = np.random.default_rng(0)
    layers = tuple(
        Layer(
            weight=(rng.normal(size=(after, before)) / before**0.5).astype(np.float32),
            bias=(rng.normal(size=after) / 10).astype(np.float32),
            activation="ReLU" if index < len(widths) - 2 else None,
        )
        for index, (before, after) in enumerate(pairwise(widths))
    )
    ones = np.ones(widths[-1], np.float32)
    return Network(
        layers=layers,
        head=Head(kind="clip", low=-ones, high=ones),
        observation_shape=(widths[0],),
        action_shape=(widths[-1],),
        normalizer=Normalizer(
            mean=np.zeros(widths[0], np.float32),
            inverse_std=np.ones(widths[0], np.float32),
            clip=10.0,
        ),
    )


def fastest_us(work: Work) -> float:
    """Of the short runs of a fifth of a second, in microseconds per decision."""
    end, fastest = time.perf_counter() + RUN_S, np.inf
    while time.perf_counter() < end:
        fastest = min(fastest, work(CALLS))
    return 1e6 * fastest / CALLS


def calls(act: Callable[[Any], Any], observation: Any) -> Work:
    """From Python, at batch size 1."""
    return lambda times: timeit.timeit(lambda: act(observation), number=times)


def inside(actor: NativeActor, observations: Any) -> Work:
    """In C, on some observations in turn."""
    return lambda times: actor.seconds(observations, times)


def joules(work: Work, meter: MeterConfig | None, microseconds: float) -> float | None:
    """Of one decision, above those of an idle machine where the meter sees all of it."""
    if meter is None:
        return None
    opened = open_meter(meter)
    seconds = max(ENERGY_S, opened.min_window_s / 5)
    idle_watts = 0.0
    if opened.machine_wide:
        before = opened.read_j()
        time.sleep(seconds)
        idle_watts = (opened.read_j() - before) / seconds
    times = max(1, round(1e6 * seconds / microseconds))
    start, before = time.perf_counter(), opened.read_j()
    work(times)
    used = opened.read_j() - before - idle_watts * (time.perf_counter() - start)
    return used / times


def generated(model: bytes, observation: Any, actions: int, folder: Path) -> Work | None:
    """The C of emx-onnx-cgen inside C, if it is installed; `None` if not."""
    if importlib.util.find_spec("emx_onnx_cgen") is None:
        return None
    (folder / "model.onnx").write_bytes(model)
    command = [str(Path(sys.executable).with_name("emx-onnx-cgen")), "compile", "--input-dim"]
    more = ["--fp32-accumulation-strategy", "simple", "--model-name", "emx"]
    files = [str(folder / "model.onnx"), str(folder / "emx.c")]
    subprocess.run([*command, "batch=1", *more, *files], check=True, capture_output=True)
    source = (folder / "emx.c").read_text(encoding="utf-8")
    takes_batch = "void emx(int batch" in source
    call = f"emx({'1, ' if takes_batch else ''}(void *)observation, (void *)action)"
    source += f"""
#include <time.h>
double seconds(float *observation, float *action, long times)
{{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long i = 0; i < times; i++) {call};
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}}
"""
    (folder / "emx.c").write_text(source, encoding="utf-8")
    library = folder / "emx.so"
    command = [*find_compiler(), *FLAGS, str(folder / "emx.c"), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    seconds = ctypes.CDLL(str(library)).seconds
    seconds.restype = ctypes.c_double
    seconds.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
    action = np.zeros(actions, np.float32)
    return lambda times: float(seconds(observation.ctypes.data, action.ctypes.data, times))


def process_memory(network: Network) -> dict[str, int | None]:
    """Resident bytes of a fresh process with a native actor, and of a plain C program."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network.save(folder / "network.npz")
        run = [sys.executable, "-c", HOLDER, str(folder / "network.npz")]
        # An installed library has its bytecode, and compiling it would take memory.
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        for _ in range(2):
            held = subprocess.run(run, capture_output=True, text=True, check=True, env=env).stdout
        numpy_bytes, native_bytes = (1024 * int(kibibytes) for kibibytes in held.split())
        observations = np.zeros((2, *network.observation_shape), np.float32)
        program = c_program(network, "p", observations, target="native")
        program.write(folder)
        (folder / "main.c").write_text(PROGRAM, encoding="utf-8")
        files = [str(folder / file) for file in ("p.c", "main.c")]
        run_compiler([*find_compiler(), "-O3", "-std=gnu99", *files, "-o", str(folder / "p")])
        plain = subprocess.run([folder / "p"], capture_output=True, text=True, check=True).stdout
    return {
        "python_and_numpy": numpy_bytes,
        "with_native_actor": native_bytes,
        "c_program": 1024 * int(plain),
    }


HOLDER = """
import sys
from pathlib import Path
import numpy as np
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmRSS"))
print(resident())
from squeezerl.network.network import Network
from squeezerl.runtimes.native import NativeActor
actor = NativeActor(Network.load(Path(sys.argv[1])))
for _ in range(100):
    actor.act(np.zeros((1, *actor.observation_shape), np.float32))
print(resident())
"""
PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "p.h"
int main(void)
{
    float observation[P_OBSERVATIONS] = {0}, action[P_ACTIONS];
    for (int i = 0; i < 100; i++) {
        p_act(observation, action);
        observation[0] = action[0];
    }
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    while (status && fgets(line, sizeof line, status)) {
        long kibibytes;
        if (sscanf(line, "VmRSS: %ld", &kibibytes) == 1) {
            printf("%ld", kibibytes);
        }
    }
    return 0;
}
"""


def compressed(network: Network, observations: Any) -> dict[str, Network]:
    """The network by each recipe."""
    given = Given(observations=observations)
    return {name: Recipe.of(recipe).apply(network, given) for name, recipe in RECIPES.items()}


def contenders(
    networks: dict[str, Network], algorithm: str, observations: Any, folder: Path
) -> dict[str, Work]:
    """What is measured for a network, by name."""
    one = observations[:1]
    payloads = {
        name: Payload(each, FORMATS.get("onnx").write(each), algorithm)
        for name, each in networks.items()
    }
    found: dict[str, Work] = {}
    for name in ("sb3", "torch"):
        runtime = RUNTIMES.get(name)
        refusal = runtime.cannot_run(networks["float"], algorithm)
        if runtime.problem() is None and refusal is None:
            runtime.import_library(algorithm)
            found[f"{name}.float"] = calls(runtime.load(payloads["float"]).act, one)
    actions = networks["float"].action_shape[0]
    emx = generated(payloads["float"].model, one, actions, folder)
    if emx is not None:
        found["emx_c.float"] = emx
    for name, payload in payloads.items():
        found[f"ort.{name}"] = calls(RUNTIMES.get("ort").load(payload).act, one)
        found[f"native.{name}"] = calls(NativeActor(payload.network).act, one)
        for level in levels():
            actor = NativeActor(payload.network, level=level)
            found[f"c.{name}.{level}"] = inside(actor, observations[:64])
    return found


def measure(
    networks: dict[str, Network],
    algorithm: str,
    observations: Any,
    rounds: int,
    meter: MeterConfig | None,
) -> dict[str, Any]:
    """Medians over the rounds, in microseconds, ratios, and joules."""
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(networks, algorithm, observations, Path(folder))
        samples: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, work in found.items():
                samples[name].append(fastest_us(work))
        medians = {name: statistics.median(values) for name, values in samples.items()}
        energy = {name: joules(work, meter, medians[name]) for name, work in found.items()}
    best = levels()[-1]

    def ratio(slow: str, fast: str) -> float | None:
        if slow not in medians:
            return None
        pairs = zip(samples[slow], samples[fast], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    return {
        "microseconds": {name: round(value, 3) for name, value in medians.items()},
        "joules": energy,
        "ratios": {
            "sb3_float_to_ort_float": ratio("sb3.float", "ort.float"),
            "sb3_float_to_native_float": ratio("sb3.float", "native.float"),
            "sb3_float_to_native_int8": ratio("sb3.float", "native.int8"),
            "torch_float_to_native_int8": ratio("torch.float", "native.int8"),
            "ort_float_to_ort_int8": ratio("ort.float", "ort.int8"),
            "ort_float_to_native_float": ratio("ort.float", "native.float"),
            "ort_float_to_native_int8": ratio("ort.float", "native.int8"),
            "ort_int8_to_native_int8": ratio("ort.int8", "native.int8"),
            "emx_c_float_to_c_float": ratio("emx_c.float", f"c.float.{best}"),
            "native_float_to_native_int8": ratio("native.float", "native.int8"),
            "c_float_to_c_int8": ratio(f"c.float.{best}", f"c.int8.{best}"),
            "c_int8_to_c_bits4": ratio(f"c.int8.{best}", f"c.bits4.{best}"),
            "c_int8_to_c_pruned_int8": ratio(f"c.int8.{best}", f"c.pruned_int8.{best}"),
            "c_float_to_c_pruned_int8": ratio(f"c.float.{best}", f"c.pruned_int8.{best}"),
        },
        "rounds": {name: [round(x, 3) for x in values] for name, values in samples.items()},
    }


def measure_shape(shape: str, rounds: int, meter: MeterConfig | None) -> dict[str, Any]:
    network = make_network(shape)
    rng = np.random.default_rng(1)
    observations = rng.normal(size=(1000, network.observation_shape[0])).astype(np.float32)
    networks = compressed(network, observations)
    return {"shape": shape} | measure(networks, "ppo", observations, rounds, meter)


def measure_agent(agent: Agent, rounds: int, meter: MeterConfig | None) -> dict[str, Any]:
    """The same on observations of the agent's own, and what its C takes on a Cortex-M4."""
    artifact, _, observations = agent.read()
    networks = compressed(artifact.network, observations)
    emulated = {}
    for name, network in networks.items():
        with contextlib.suppress(SqueezeRLError):  # zig or Unicorn is not installed
            program = c_program(network, "p", observations)
            emulated[name] = to_json(measure_microcontroller(program, "cortex-m4"))
    widths = [artifact.network.observation_shape[0]]
    widths += [layer.out_features for layer in artifact.network.layers]
    return {
        "agent": agent.name,
        "shape": "-".join(map(str, widths)),
        **measure(networks, artifact.algorithm, observations, rounds, meter),
        "cortex_m4": emulated,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", action="append", help=f"default: {', '.join(SHAPES)}")
    parser.add_argument("--agents", action="store_true", help="published agents, not shapes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--watts-per-core", type=float, help="for an estimate of joules")
    arguments = parser.parse_args()
    meter, problem = choose_meter(host_facts(), watts_per_core=arguments.watts_per_core)
    if arguments.agents:
        results = [measure_agent(each, arguments.rounds, meter) for each in find_agents()]
    else:
        shapes = arguments.shape or SHAPES
        results = [measure_shape(shape, arguments.rounds, meter) for shape in shapes]
    report = {
        "host": to_json(host_facts()),
        "level": levels()[-1],
        "energy_source": problem if meter is None else open_meter(meter).description,
        "energy_estimated": None if meter is None else open_meter(meter).estimated,
        "memory_bytes": process_memory(make_network("17-256-256-6")),
        "results": results,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
