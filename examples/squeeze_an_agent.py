"""Squeeze the bundled agent and act with the result: squeeze_an_agent.py [OUTPUT [EPISODES]]."""

from __future__ import annotations

import sys

import numpy as np

import squeezerl

output = sys.argv[1] if len(sys.argv) > 1 else "out/example"
episodes = int(sys.argv[2]) if len(sys.argv) > 2 else 100

result = squeezerl.squeeze(
    "demo",
    env="HalfCheetah-v5",
    output=output,
    retain=0.95,
    episodes=episodes,
    # In these minutes small networks learn; a quick try takes one method and measures nothing.
    budget="5m",
    recipes=() if episodes >= 100 else ("ptdq",),
    measure=episodes >= 100,
    force=True,
)
print(result.summary())

actor = squeezerl.load_actor(output)  # ONNX Runtime only, no torch
print(actor.act(np.zeros((1, 17), dtype=np.float32)))
