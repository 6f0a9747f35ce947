"""A squeeze from a script that registers its own environment and method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The workers do not run the script again, so it needs no `if __name__ == "__main__"`.
SCRIPT = '''
from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

import squeezerl
from balancing import RETAIN, balancing_agent
from squeezerl.methods.base import ExpectedLayer, Spec, register_spec
from squeezerl.network.network import Layer
from squeezerl.records import MethodRecord

GRAVITY = 9.0


class Moon(CartPoleEnv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.gravity = GRAVITY


gymnasium.register("Moon-v0", Moon, max_episode_steps=100)


@register_spec
@dataclass(frozen=True, kw_only=True)
class Coarse(Spec):
    """Weights rounded to multiples of `step`."""

    kind: ClassVar[str] = "coarse"

    step: float

    @property
    def record(self) -> MethodRecord:
        return MethodRecord(
            name="coarse", label="coarse", short="coarse", group="pruning", color="k", marker="x"
        )

    def apply(self, network, given):
        layers = [
            Layer(
                weight=(np.round(layer.weight / self.step) * self.step).astype(np.float32),
                bias=layer.bias,
                activation=layer.activation,
            )
            for layer in network.layers
        ]
        return network.replace(layers=tuple(layers))

    def expect(self, layers):
        return list(layers)


found = squeezerl.squeeze(
    balancing_agent(width=20, idle=10),
    env="Moon-v0",
    output=sys.argv[1],
    retain=RETAIN,
    recipes=["prune:l2:0.5", Coarse(step=0.05), "coarse:step=100"],
    episodes=10,
    measure=False,
    workers=2,
)
'''


@pytest.mark.slow
def test_workers_know_what_the_script_registered(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT, encoding="utf-8")
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["env_id"] == "Moon-v0"
    verdicts = {each["artifact"]: each["retention"]["verdict"] for each in results["candidates"]}
    assert verdicts == {
        "candidates/l2-50": "keeps",
        "candidates/coarse-step-0.05": "keeps",
        "candidates/coarse-step-100": "loses",
    }
