"""Lottery tickets: part of a trained network, back at its initial weights, trained again.

The hypothesis (Frankle & Carbin 2019, arXiv 1803.03635; in RL: Yu et al. 2020, arXiv 1906.02768)
says that the neurons which a trained network keeps when it is pruned would have learned as well
alone, from the weights that they started with, and that as many neurons drawn at random would not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from squeezerl.agents.load import load_agent
from squeezerl.agents.sources.stable_baselines3.files import find_agent, read_yaml
from squeezerl.agents.sources.stable_baselines3.network import actor_modules
from squeezerl.errors import CheckpointError, InvalidArgumentError
from squeezerl.methods.pruning import Neurons, kept_neurons, random_neurons
from squeezerl.network.network import Network
from squeezerl.training.checkpoint import has_checkpoints
from squeezerl.training.config import TicketConfig

START = "initial_weights.safetensors"
# A random ticket draws its neurons from a stream of its own, so that they do not depend on how many
# random numbers the training draws.
_STREAM = 1803_03635
# Algorithm families whose policies have a target of the actor, and the name of the actor's module.
_TARGETS = {"td3": "actor", "dqn": "q_net", "qrdqn": "quantile_net"}


@dataclass(frozen=True)
class Original:
    """A finished training that recorded its initial weights."""

    folder: Path
    checkpoint: Path
    arguments: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, algorithm: str, env_name: str) -> Original:
        """Read the training in a folder.

        Args:
            folder: as `squeezerl train` wrote it.
            algorithm: name of the algorithm that it must have been trained with.
            env_name: the environment's id, without the module that registers it.

        Raises:
            CheckpointError: if the folder holds no such training, or the training is not finished
                or did not start from random weights.
        """
        checkpoint, arguments = folder / f"{env_name}.zip", folder / env_name / "args.yml"
        if not arguments.is_file():
            raise CheckpointError(f"{folder}: not the folder of a training of {env_name}")
        if not checkpoint.is_file() or has_checkpoints(folder):
            raise CheckpointError(
                f"{folder}: this training has not ended; finish it with `resume=True` before you "
                "take a ticket of it"
            )
        given = read_yaml(arguments)
        if given.get("algo") != algorithm:
            raise CheckpointError(f"{folder}: trained with {given.get('algo')}, not {algorithm}")
        numbers = [given.get("seed"), given.get("n_timesteps")]
        if "qat" not in given or not all(type(number) is int for number in numbers):
            raise CheckpointError(
                f"{folder}: not trained by squeezerl train, so the weights that it started from "
                "are unknown"
            )
        for name, reason in (
            ("qat", "trained for int8; take a ticket of a training in float"),
            ("trained_agent", "started from another agent, not from random weights"),
            ("ticket", "a ticket itself; take one of its original, with a higher ratio"),
        ):
            if given.get(name):
                raise CheckpointError(f"{folder}: {reason}")
        return cls(folder, checkpoint, given)

    def start(self) -> dict[str, Tensor]:
        """The weights that the training started from.

        Raises:
            CheckpointError: if they are missing or damaged.
        """
        path = self.checkpoint.with_suffix("") / START
        try:
            return load(path.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: missing; a ticket starts from these weights") from error
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged ({error})") from error

    @property
    def config(self) -> Path:
        """The file of its hyperparameters, as `load_hyperparameters` reads it."""
        return self.checkpoint.with_suffix("") / "config.yml"

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return int(self.arguments["seed"])

    @property
    def steps(self) -> int:
        """The number of environment steps that it was asked to train for."""
        return int(self.arguments["n_timesteps"])

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """The arguments of its environment."""
        return find_agent(self.checkpoint).env_kwargs

    def check_same(self, now: Mapping[str, Any]) -> None:
        """Check that a ticket will be trained exactly as this training was.

        Args:
            now: the ticket's hyperparameters, `env`, `env_kwargs`, `seed` and `steps`.

        Raises:
            InvalidArgumentError: if one of them differs; the message names it.
        """
        before = {
            **read_yaml(self.config),
            "env": self.arguments.get("env"),
            "env_kwargs": self.env_kwargs,
            "seed": self.seed,
            "steps": self.steps,
        }
        for name in sorted({*before, *now} - {"n_timesteps"}):
            if before.get(name) != now.get(name):
                raise InvalidArgumentError(
                    f"{self.folder}: was trained with {name} {before.get(name)!r}, not "
                    f"{now.get(name)!r}; leave it out: a ticket is trained as its original was"
                )

    def identity(self, ticket: TicketConfig) -> dict[str, Any]:
        """What decides which ticket it is, wherever this training lies now."""
        return {
            "choice": ticket.choice,
            "ratio": float(ticket.ratio),
            "sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
        }

    def rewind(
        self,
        ticket: TicketConfig,
        network: Network,
        whole: Any,
        *,
        family: str,
        seed: int,
    ) -> tuple[Any, dict[str, Tensor]]:
        """The `net_arch` of the ticket's policy, and the weights that it starts with.

        Args:
            ticket: which neurons stay.
            network: that of `whole`.
            whole: untrained model of Stable-Baselines3, made with this training's settings.
            family: of the algorithm.
            seed: decides which neurons a random ticket has.

        Raises:
            CheckpointError: if the trained networks are not those that the settings describe.
            CompressionError: if a layer cannot lose the share that was asked for.
        """
        trained = load_agent(self.checkpoint).network
        if _shapes(trained) != _shapes(network):
            raise CheckpointError(
                f"{self.checkpoint}: its networks are not those that {self.config} describes"
            )
        if ticket.choice == "random":
            generator = np.random.default_rng([seed, _STREAM])
            kept = random_neurons(trained, ticket.pruning(), generator)
        else:
            kept = kept_neurons(trained, ticket.pruning())
        start, expected = self.start(), whole.policy.state_dict()
        if {n: w.shape for n, w in start.items()} != {n: w.shape for n, w in expected.items()}:
            raise CheckpointError(
                f"{self.folder}: {START} does not hold the networks that {self.config} describes"
            )
        # The file keeps no order; the model's order is that of the layers.
        state = {name: start[name] for name in expected}
        return _net_arch(whole.policy.net_arch, family, kept), _state(state, family, kept)


def pack_start(state: Mapping[str, Tensor]) -> bytes:
    """The content of the file `START`: a policy's weights before it has learned anything."""
    return save({name: weight.detach().cpu().clone() for name, weight in state.items()})


def _shapes(network: Network) -> list[tuple[int, ...]]:
    return [layer.weight.shape for layer in network.layers]


def _net_arch(net_arch: Any, family: str, kept: Sequence[Neurons]) -> Any:
    """A policy's `net_arch` with the kept neurons in the actor and the critics unchanged."""
    widths = [len(neurons) for neurons in kept]
    if family in ("dqn", "qrdqn"):
        return widths
    critic = "vf" if family == "actor-critic" else "qf"
    whole = net_arch.get(critic, []) if isinstance(net_arch, dict) else net_arch
    return {"pi": widths, critic: list(whole)}


def _state(state: Mapping[str, Tensor], family: str, kept: Sequence[Neurons]) -> dict[str, Tensor]:
    """A policy's weights without those of the removed neurons; everything else is unchanged.

    Args:
        state: weights of the whole policy, as Stable-Baselines3 names them.
        family: of the algorithm.
        kept: for each hidden layer of the actor the neurons that stay.
    """
    small = dict(state)
    for layers in _actors(state, family):
        for index, name in enumerate(layers):
            # The output layer keeps all its rows, the first layer all its columns.
            if index < len(kept):
                small[name] = small[name][kept[index]]
                bias = name.removesuffix("weight") + "bias"
                small[bias] = small[bias][kept[index]]
            if index > 0:
                small[name] = small[name][:, kept[index - 1]]
    # The second head of SAC and TQC; with gSDE there is one deviation per last hidden neuron.
    if "actor.log_std.weight" in state:
        small["actor.log_std.weight"] = state["actor.log_std.weight"][:, kept[-1]]
    for name in ("log_std", "actor.log_std"):
        if name in state and state[name].ndim == 2:
            small[name] = state[name][kept[-1]]
    return small


def _actors(state: Mapping[str, Tensor], family: str) -> Iterator[list[str]]:
    """The names of the actor's weights in order, and then those of the actor's target."""
    modules = [f"{module}." for module in actor_modules(family)]
    names = [
        name
        for module in modules
        for name in state
        if name.startswith(module) and name.endswith(".weight")
    ]
    yield names
    if family in _TARGETS:
        part = f"{_TARGETS[family]}."
        yield [name.replace(part, f"{part[:-1]}_target.", 1) for name in names]
