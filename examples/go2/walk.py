"""Walks of a policy: what it earns, how near it is to its commands, and a log of it.

    python -m examples.go2.walk POLICY LOG.npz

records ten minutes of walking, 30,000 observations with the actions, in sixty episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import squeezerl

ENV_ID = "examples.go2:Go2-v0"
LOG_SEED = 3_000_000_000  # no evaluation and no learning has these
_SETTLED = 75  # steps at the end of a command, after which a walk has changed from the one before

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One episode, with a row for each of its n decisions.

    Args:
        rewards: (n,).
        observations, actions: (n, 45) and (n, 12), float32.
        velocities, commands: (n, 3), forward and sideways in m/s, turning in rad/s.
        fallen: how it ended.
    """

    rewards: Floats
    observations: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    velocities: Floats
    commands: Floats
    fallen: bool

    def errors(self) -> Floats:
        """How far the mean velocity in the last 1.5 s of each command is from it, (commands, 2).

        Over ground in m/s, and turning in rad/s. Commands that a fall cut short do not count.
        """
        changes = np.flatnonzero(np.any(np.diff(self.commands, axis=0), axis=1)) + 1
        ends = [*changes, *([] if self.fallen else [len(self.commands)])]
        off = np.array(
            [(self.velocities - self.commands)[end - _SETTLED : end].mean(axis=0) for end in ends]
        ).reshape(-1, 3)
        return np.column_stack([np.hypot(off[:, 0], off[:, 1]), np.abs(off[:, 2])])


def walks(policy: Any, seeds: Sequence[int]) -> list[Walk]:
    """One episode for each seed, played by an agent or artifact in ONNX Runtime."""
    actor = squeezerl.load_actor(policy)
    env: Any = squeezerl.Environment.find(ENV_ID).make()
    return [_walk(actor, env, seed) for seed in seeds]


def _walk(actor: Any, env: Any, seed: int) -> Walk:
    robot = env.unwrapped
    observation, _ = env.reset(seed=seed)
    rows, fallen, ended = [], False, False
    while not ended:
        action = actor.act(observation[None])[0]
        command = robot.command
        seen = observation
        observation, reward, fallen, over, _ = env.step(action)
        rows.append((reward, seen, action, robot.velocity, command))
        ended = fallen or over
    rewards, observations, actions, velocities, commands = map(np.array, zip(*rows, strict=True))
    return Walk(
        rewards=rewards,
        observations=observations,
        actions=actions,
        velocities=velocities,
        commands=commands,
        fallen=fallen,
    )


def record(policy: Any, path: str, episodes: int = 60) -> None:
    """Write what a policy saw and did as a log."""
    played = walks(policy, range(LOG_SEED, LOG_SEED + episodes))
    observations = np.concatenate([walk.observations for walk in played])
    np.savez(path, observations=observations, actions=np.concatenate([w.actions for w in played]))


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2])
