"""Compile the C that a squeeze left, run its self-test, and print one line of measured times.

python scripts/demo_times.py out/demo
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

import numpy as np

from squeezerl import read_artifact
from squeezerl.errors import SqueezeRLError
from squeezerl.host.compiler import find_compiler, run_compiler
from squeezerl.runtimes.base import RUNTIMES, Actor
from squeezerl.runtimes.native import NativeActor

CALLS, RUNS = 100, 200


def call_us(actor: Actor, observation: np.ndarray) -> float:
    """The median over runs of calls from Python, at batch size 1."""
    runs = timeit.repeat(lambda: actor.act(observation), number=CALLS, repeat=RUNS)
    return float(np.median(runs)) / CALLS * 1e6


def self_test(folder: Path) -> str:
    """What the program's self-test prints."""
    with tempfile.TemporaryDirectory() as made:
        executable = str(Path(made) / "test")
        sources = [str(path) for path in sorted(folder.glob("*.c"))]
        run_compiler([*find_compiler(), "-O3", "-std=c99", *sources, "-o", executable])
        return subprocess.run([executable], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print the self-test's line and the times."""
    folder = Path(sys.argv[1])
    chosen, float_ = read_artifact(folder), read_artifact(folder / "candidates/float")
    ort = RUNTIMES.get("ort")
    observation = np.zeros((1, *chosen.network.observation_shape), np.float32)
    try:
        print(self_test(folder / "c").strip())
        native = NativeActor(chosen.network)
    except SqueezeRLError as error:
        print(f"No time in C: {error}")
        return
    in_c = np.median([native.seconds(observation, CALLS) for _ in range(RUNS)]) / CALLS * 1e6
    print(
        f"One decision takes {call_us(ort.load(float_), observation):.1f} µs in ONNX Runtime in "
        f"float, {call_us(ort.load(chosen), observation):.1f} µs there as {chosen.recipe.name}, "
        f"and {call_us(native, observation):.2f} µs in the native runtime, of which {in_c:.2f} µs "
        "inside C."
    )


if __name__ == "__main__":
    main()
