"""Microseconds per decision: SB3, torch, ONNX Runtime, generated C of emx-onnx-cgen, and ours.

For each shape all are measured in turn, several rounds in one process, so that ratios are of the
same minutes. Each figure is the median over the rounds of the fastest of many short runs; the
weights are random. "c" is the time inside C, "native" that of a call from Python. Prints JSON:

    python benchmarks/latency.py
    python benchmarks/latency.py --shape 17-256-256-6 --rounds 9
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from squeezerl.formats.base import FORMATS
from squeezerl.host.compiler import find_compiler
from squeezerl.host.facts import host_facts
from squeezerl.methods.base import Given
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Head, Layer, Network, Normalizer
from squeezerl.records import to_json
from squeezerl.runtimes.base import RUNTIMES, Payload
from squeezerl.runtimes.native import NativeActor, levels

SHAPES = ("17-32-32-6", "17-64-64-6", "17-256-256-6", "376-400-300-17", "45-512-256-128-12")
RECIPES = {
    "float": "float",
    "int8": "int8:static",
    "int8_dynamic": "int8:dynamic",
    "pruned_int8": "prune:l2:0.5 | int8:static",
}
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-w")
# Calls in one run: few enough that another process seldom comes between.
CALLS = 50

Time = Callable[[], float]


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


def calls(act: Callable[[Any], Any], observation: Any) -> Time:
    """The fastest of the runs of a quarter of a second, in microseconds per call."""

    def run() -> float:
        end, fastest = time.perf_counter() + 0.25, np.inf
        while time.perf_counter() < end:
            fastest = min(fastest, timeit.timeit(lambda: act(observation), number=CALLS))
        return 1e6 * fastest / CALLS

    return run


def inside(actor: NativeActor, observations: Any) -> Time:
    """The same, in C."""

    def run() -> float:
        end, fastest = time.perf_counter() + 0.25, np.inf
        while time.perf_counter() < end:
            fastest = min(fastest, actor.seconds(observations, CALLS))
        return 1e6 * fastest / CALLS

    return run


def generated(model: bytes, observation: Any, actions: int, folder: Path) -> Time | None:
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

    def run() -> float:
        end, fastest = time.perf_counter() + 0.25, np.inf
        while time.perf_counter() < end:
            used = seconds(observation.ctypes.data, action.ctypes.data, CALLS)
            fastest = min(fastest, used)
        return 1e6 * fastest / CALLS

    return run


def contenders(shape: str, folder: Path) -> dict[str, Time]:
    """What is measured for a shape, by name."""
    network = make_network(shape)
    rng = np.random.default_rng(1)
    observations = rng.normal(size=(1000, network.observation_shape[0])).astype(np.float32)
    one = observations[:1]
    networks = {
        name: Recipe.of(recipe).apply(network, Given(observations=observations))
        for name, recipe in RECIPES.items()
    }
    payloads = {
        name: Payload(each, FORMATS.get("onnx").write(each), "ppo")
        for name, each in networks.items()
    }
    found: dict[str, Time] = {}
    for name in ("sb3", "torch"):
        runtime = RUNTIMES.get(name)
        if runtime.problem() is None:
            runtime.import_library("ppo")
            found[f"{name}.float"] = calls(runtime.load(payloads["float"]).act, one)
    emx = generated(payloads["float"].model, one, network.action_shape[0], folder)
    if emx is not None:
        found["emx_c.float"] = emx
    for name, payload in payloads.items():
        found[f"ort.{name}"] = calls(RUNTIMES.get("ort").load(payload).act, one)
        found[f"native.{name}"] = calls(NativeActor(payload.network).act, one)
        for level in levels():
            actor = NativeActor(payload.network, level=level)
            found[f"c.{name}.{level}"] = inside(actor, observations[:64])
    return found


def measure(shape: str, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, in microseconds, and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        found = contenders(shape, Path(folder))
        samples: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, run in found.items():
                samples[name].append(run())
    medians = {name: statistics.median(values) for name, values in samples.items()}
    best = levels()[-1]

    def ratio(slow: str, fast: str) -> float | None:
        if slow not in medians:
            return None
        pairs = zip(samples[slow], samples[fast], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 2)

    return {
        "shape": shape,
        "microseconds": {name: round(value, 3) for name, value in medians.items()},
        "ratios": {
            "ort_int8_to_native_int8": ratio("ort.int8", "native.int8"),
            "ort_float_to_native_int8": ratio("ort.float", "native.int8"),
            "sb3_to_native_int8": ratio("sb3.float", "native.int8"),
            "torch_to_native_int8": ratio("torch.float", "native.int8"),
            "emx_c_float_to_c_float": ratio("emx_c.float", f"c.float.{best}"),
            "c_float_to_c_int8": ratio(f"c.float.{best}", f"c.int8.{best}"),
            "c_int8_to_c_pruned_int8": ratio(f"c.int8.{best}", f"c.pruned_int8.{best}"),
        },
        "rounds": {name: [round(x, 3) for x in values] for name, values in samples.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", action="append", help=f"default: {', '.join(SHAPES)}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    results = [measure(shape, arguments.rounds) for shape in arguments.shape or SHAPES]
    report = {"host": to_json(host_facts()), "level": levels()[-1], "results": results}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
