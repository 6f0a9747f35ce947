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
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from squeezerl.agents.load import load_agent
from squeezerl.agents.sources.stable_baselines3.files import find_agent, read_yaml
from squeezerl.agents.sources.stable_baselines3.network import actor_modules
from squeezerl.errors import CheckpointError, InvalidArgumentError
from squeezerl.methods.pruning import Neurons, kept_neurons, random_neurons
from squeezerl.methods.specs import StructuredPruning
from squeezerl.network.network import Network
from squeezerl.network.policy import Policy
from squeezerl.training.checkpoint import has_checkpoints
from squeezerl.training.policy import network_of

if TYPE_CHECKING:
    from squeezerl.training.settings import TrainingSettings

CHOICES = ("l1", "l2", "random")
START = "initial_weights.safetensors"
# Which neurons a random ticket has shall not hang on the numbers that its training draws.
_STREAM = 1803_03635
# Families whose policies have a second actor that follows the first, and its part's name.
_TARGETS = {"td3": "actor", "dqn": "q_net", "qrdqn": "quantile_net"}


@dataclass(frozen=True, kw_only=True)
class TicketSettings:
    """Which neurons of a finished training are trained again from their initial weights.

    Args:
        of: the training's folder.
        choice: "l1" or "l2" for the neurons that pruning with this norm keeps, or "random".
        ratio: share of each hidden layer's neurons to leave out, as in `StructuredPruning`.

    Raises:
        SqueezeRLError: if the choice or the ratio is not allowed.
    """

    of: str
    choice: str
    ratio: float

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise InvalidArgumentError(f"ticket {self.choice!r} is not one of {', '.join(CHOICES)}")
        self.spec()

    def spec(self) -> StructuredPruning:
        """The pruning that this is a ticket of; a random one is as large as an L2 one."""
        return StructuredPruning(norm="l1" if self.choice == "l1" else "l2", ratio=self.ratio)


@dataclass(frozen=True)
class Original:
    """A finished training that noted its initial weights."""

    folder: Path
    checkpoint: Path
    arguments: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, algorithm: str, env_name: str) -> Original:
        """The training in a folder.

        Args:
            folder: as `squeezerl train` wrote it.
            algorithm: that it must be of.
            env_name: the environment's id, without the module that registers it.

        Raises:
            CheckpointError: if there is none, if it is not finished, of another algorithm, or did
                not start from random weights.
        """
        checkpoint, arguments = folder / f"{env_name}.zip", folder / env_name / "args.yml"
        if not arguments.is_file():
            raise CheckpointError(f"{folder}: not the folder of a training of {env_name}")
        if not checkpoint.is_file() or has_checkpoints(folder):
            raise CheckpointError(
                f"{folder}: this training has not ended; go on with --resume before you take a "
                "ticket of it"
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
            ("ticket", "a ticket itself; take one of the original, with a higher ratio"),
        ):
            if given.get(name):
                raise CheckpointError(f"{folder}: {reason}")
        return cls(folder, checkpoint, given)

    def start(self) -> dict[str, Tensor]:
        """The weights that it started from.

        Raises:
            CheckpointError: if they are not there or damaged.
        """
        path = self.checkpoint.with_suffix("") / START
        try:
            return load(path.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: is not there; a ticket starts from it") from error
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged ({error})") from error

    @property
    def config(self) -> Path:
        """Its hyperparameters, as `load_hyperparameters` reads them."""
        return self.checkpoint.with_suffix("") / "config.yml"

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.arguments["seed"])

    @property
    def steps(self) -> int:
        """Environment steps that it was trained for."""
        return int(self.arguments["n_timesteps"])

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """What its environment was given."""
        return find_agent(self.checkpoint).env_kwargs


def pack_start(state: Mapping[str, Tensor]) -> bytes:
    """The weights of a policy before it has learned anything, for `START`."""
    return save({name: weight.detach().cpu().clone() for name, weight in state.items()})


def check_ticket(settings: TrainingSettings) -> None:
    """Check that a ticket will be trained exactly as the original was.

    Raises:
        CheckpointError: if the folder holds no training that a ticket can be taken of.
        InvalidArgumentError: if a setting differs; it names the setting.
    """
    assert settings.ticket is not None
    original = _original(settings)
    now = {
        **_plain(settings.hyperparameters.raw),
        "env": settings.environment.id,
        "env_kwargs": dict(settings.environment.kwargs),
        "seed": settings.seed,
        "steps": settings.steps,
    }
    before = {
        **read_yaml(original.config),
        "env": original.arguments.get("env"),
        "env_kwargs": original.env_kwargs,
        "seed": original.seed,
        "steps": original.steps,
    }
    for name in sorted({*before, *now} - {"n_timesteps"}):
        if before.get(name) != now.get(name):
            raise InvalidArgumentError(
                f"{original.folder}: was trained with {name} {before.get(name)!r}, not "
                f"{now.get(name)!r}; leave it out: a ticket is trained as the original was"
            )


def ticket_identity(settings: TrainingSettings) -> dict[str, Any] | None:
    """What decides which ticket it is, wherever the original lies now; `None` if it is none."""
    ticket = settings.ticket
    if ticket is None:
        return None
    content = _original(settings).checkpoint.read_bytes()
    return {
        "choice": ticket.choice,
        "ratio": float(ticket.ratio),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def rewind(settings: TrainingSettings, whole: Any) -> tuple[Any, dict[str, Tensor]]:
    """The ticket in a model that starts as the original did: its `net_arch`, and its weights.

    Args:
        settings: with a ticket.
        whole: untrained model of Stable-Baselines3, made with the original's settings.

    Raises:
        CheckpointError: if the original's networks are not those that its settings describe.
        CompressionError: if a layer cannot lose the share that was asked for.
    """
    ticket, algorithm = settings.ticket, settings.algorithm
    assert ticket is not None
    original = _original(settings)
    trained = load_agent(original.checkpoint).network
    if _shapes(trained) != _shapes(network_of(whole, algorithm)):
        raise CheckpointError(
            f"{original.checkpoint}: its networks are not those that {original.config} describes"
        )
    if ticket.choice == "random":
        generator = np.random.default_rng([settings.seed, _STREAM])
        kept = random_neurons(Policy.from_network(trained), ticket.spec(), generator)
    else:
        kept = kept_neurons(Policy.from_network(trained), ticket.spec())
    start, expected = original.start(), whole.policy.state_dict()
    if {n: w.shape for n, w in start.items()} != {n: w.shape for n, w in expected.items()}:
        raise CheckpointError(
            f"{original.folder}: {START} is not of the networks that {original.config} describes"
        )
    # The file has no order, and the order of the layers is theirs.
    state = {name: start[name] for name in expected}
    return (
        _net_arch(whole.policy.net_arch, algorithm.family, kept),
        _state(state, algorithm.family, kept),
    )


def _shapes(network: Network) -> list[tuple[int, ...]]:
    return [layer.weight.shape for layer in network.layers]


def _net_arch(net_arch: Any, family: str, kept: Sequence[Neurons]) -> Any:
    """A policy's `net_arch` with an actor of the kept neurons, its critics as they are."""
    widths = [len(neurons) for neurons in kept]
    if family in ("dqn", "qrdqn"):
        return widths
    critic = "vf" if family == "actor-critic" else "qf"
    whole = net_arch.get(critic, []) if isinstance(net_arch, dict) else net_arch
    return {"pi": widths, critic: list(whole)}


def _state(state: Mapping[str, Tensor], family: str, kept: Sequence[Neurons]) -> dict[str, Tensor]:
    """A policy's weights with those of the kept neurons only, exactly; all else as it is.

    Args:
        state: of the whole policy, as Stable-Baselines3 names it.
        family: of the algorithm.
        kept: neurons of each hidden layer of the actor.
    """
    small = dict(state)
    for layers in _actors(state, family):
        for index, name in enumerate(layers):
            # The output layer keeps all its rows, the first one all its columns.
            if index < len(kept):
                small[name] = small[name][kept[index]]
                bias = name.removesuffix("weight") + "bias"
                small[bias] = small[bias][kept[index]]
            if index > 0:
                small[name] = small[name][:, kept[index - 1]]
    # SAC's and TQC's second head, and with gSDE a deviation for each of the last hidden neurons.
    if "actor.log_std.weight" in state:
        small["actor.log_std.weight"] = state["actor.log_std.weight"][:, kept[-1]]
    for name in ("log_std", "actor.log_std"):
        if name in state and state[name].ndim == 2:
            small[name] = state[name][kept[-1]]
    return small


def _actors(state: Mapping[str, Tensor], family: str) -> Iterator[list[str]]:
    """The names of the actor's weights in order, and then those of the one that follows it."""
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


def _original(settings: TrainingSettings) -> Original:
    assert settings.ticket is not None
    folder = Path(settings.ticket.of)
    return Original.read(folder, settings.algorithm.name, settings.env_name)


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a file."""
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(raw)))
    return plain
