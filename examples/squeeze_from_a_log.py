"""Squeeze a policy without an environment: squeeze_from_a_log.py [OUTPUT [ROWS]].

The log is recorded here by playing the bundled agent; yours comes from a robot or a simulator.
"""

from __future__ import annotations

import sys

import numpy as np

import squeezerl

output = sys.argv[1] if len(sys.argv) > 1 else "out/from-a-log"
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 30_000

original = squeezerl.load_actor("demo")
env = squeezerl.Environment.find("HalfCheetah-v5").make()
observations, actions = [], []
observation, _ = env.reset(seed=0)
for _ in range(rows):
    observation = np.asarray(observation, np.float32)
    action = original.act(observation[None])[0]
    observations.append(observation)
    actions.append(action)
    observation, _, terminated, truncated, _ = env.step(action)
    if terminated or truncated:
        observation, _ = env.reset()
np.savez("log.npz", observations=np.array(observations), actions=np.array(actions))

result = squeezerl.squeeze(
    "demo",
    observations="log.npz",
    keep_actions="0.95:0.05",  # 95 % of decisions within 5 % of the action's range
    output=output,
    # In these minutes small networks learn; a quick try takes one method and measures nothing.
    budget="5m" if rows >= 30_000 else 0,
    recipes=() if rows >= 30_000 else ("bits:8",),
    measure=rows >= 30_000,
    force=True,
)
print(result.summary())
