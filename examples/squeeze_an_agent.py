"""Squeeze the bundled agent and act with the result: squeeze_an_agent.py [OUTPUT [quick]].

A quick try takes one method instead of what all of them offer, plays short episodes and measures
nothing.
"""

from __future__ import annotations

import sys

import numpy as np

import squeezerl

output = sys.argv[1] if len(sys.argv) > 1 else "out/example"
quick = len(sys.argv) > 2

result = squeezerl.squeeze(
    "demo",
    env=squeezerl.Environment.find(
        "HalfCheetah-v5", {"max_episode_steps": 100 if quick else 1_000}
    ),
    output=output,
    retain=0.95,
    episodes=30 if quick else 100,
    budget="5m",  # in which small networks learn
    recipes=("ptdq",) if quick else (),
    measure=not quick,
    force=True,
)
print(result.summary())

actor = squeezerl.load_actor(output)  # ONNX Runtime only, no torch
print(actor.act(np.zeros((1, 17), dtype=np.float32)))
