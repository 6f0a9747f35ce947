"""Teach SqueezeRL to read checkpoints of your own: policies in plain .npz files.

Such a file holds w0, b0, w1, b1, ... (float32; tanh between the layers, then the index of the
largest output) and env, the environment's id. Write a small one for CartPole-v1, then use it in any
command:

    python examples/custom_source.py my.npz
    squeezerl --plugin examples/custom_source.py inspect my.npz
    squeezerl --plugin examples/custom_source.py squeeze my.npz -o out
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import final

import numpy as np

from squeezerl.agents.load import SOURCES, Agent, Source, source_file
from squeezerl.errors import CheckpointError
from squeezerl.network.network import Head, Layer, Network
from squeezerl.records import AgentSource


@final
class NpzSource(Source):
    kind = "npz"
    takes = "an .npz file with w0, b0, w1, b1, ... and env"

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".npz" and path.is_file()

    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        if normalizer is not None:
            raise CheckpointError(f"{path}: a policy in an .npz file has no normaliser")
        try:
            with np.load(path, allow_pickle=False) as file:  # pickles would be executed
                arrays = dict(file)
            env_id, depth = str(arrays.pop("env")), len(arrays) // 2
            network = Network(
                layers=tuple(
                    Layer(
                        weight=arrays[f"w{index}"].astype(np.float32),
                        bias=arrays[f"b{index}"].astype(np.float32),
                        activation="Tanh" if index < depth - 1 else None,
                    )
                    for index in range(depth)
                ),
                head=Head(kind="argmax"),
                observation_shape=arrays["w0"].shape[1:],
                action_shape=(),
            )
        except Exception as error:  # a damaged file can fail in any way
            raise CheckpointError(f"{path}: not a policy in an .npz file ({error})") from error
        source = AgentSource(
            kind=self.kind,
            path=str(path),
            algorithm="",  # the file does not say
            env_id=env_id,
            env_kwargs={},
            files=(source_file("checkpoint", path),),
        )
        return Agent(network, source)


SOURCES.register(NpzSource.kind, NpzSource())


def write_balancing_policy(path: Path, width: int = 16) -> None:
    """A policy that pushes the cart to the side to which its pole falls, and keeps it there."""
    rng = np.random.default_rng(0)
    # CartPole-v1 observes the cart's position and velocity, the pole's angle and angular velocity.
    feels = np.array([0.05, 0.1, 1.0, 0.5]) * rng.uniform(0.5, 1.5, (width, 1))
    sides = np.array([[-1.0], [1.0]]) * rng.uniform(0.5, 1.5, width)
    np.savez(
        path,
        w0=feels.astype(np.float32),
        b0=np.zeros(width, np.float32),
        w1=sides.astype(np.float32),
        b1=np.zeros(2, np.float32),
        env="CartPole-v1",
    )


if __name__ == "__main__":
    write_balancing_policy(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: written")
