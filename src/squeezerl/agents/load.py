"""Agents: trained policies and where they came from, read by registered sources."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from squeezerl.agents.foreign import what_it_is
from squeezerl.agents.hub import fetch, is_on_hub
from squeezerl.errors import (
    CheckpointError,
    InvalidArgumentError,
    NetworkError,
    SqueezeRLError,
    UnsupportedPolicyError,
)
from squeezerl.network.activations import ACTIVATIONS, Activation
from squeezerl.network.network import Network
from squeezerl.records import AgentSource, SourceFile
from squeezerl.registry import Registry

DEMO = "demo"
NO_NORMALIZER = Path("none")  # in the place of a normaliser's file
_MAX_BYTES = 512 * 2**20
_NETWORK, _SOURCE = "network.npz", "source.json"


@dataclass(frozen=True)
class Agent:
    """A trained policy and where it came from.

    Args:
        network: acts deterministically.
        source: where it came from.
        sampled: the same policy drawing its actions, as in training; `None` if the files have no
            distribution to draw from.
    """

    network: Network
    source: AgentSource
    sampled: Network | None = None

    def stochastic(self) -> Agent:
        """The agent whose network draws its actions.

        Raises:
            UnsupportedPolicyError: if there is no distribution to draw from.
        """
        if self.sampled is None:
            raise UnsupportedPolicyError(
                f"{self.source.path} has no distribution of actions to draw from, so it cannot be "
                "`stochastic`: PPO, A2C, TRPO, SAC and TQC agents have one, but not with gSDE; "
                "ARS, DQN, QR-DQN, TD3 and DDPG agents are deterministic"
            )
        return Agent(self.sampled, self.source)

    @property
    def env_id(self) -> str | None:
        """The environment that it was trained on; `None` if its files do not say."""
        return self.source.env_id

    @property
    def key(self) -> str:
        """Its identity: the same policy has the same key, whatever files it was read from."""
        return self.network.sha256

    @classmethod
    def from_torch(
        cls,
        module: Any,
        *,
        observation_shape: tuple[int, ...] | None = None,
        bounds: tuple[Any, Any] | None = None,
        discrete: bool = False,
        env_id: str | None = None,
    ) -> Agent:
        """The agent that a torch module is: its forward takes observations and gives actions.

        Example:
            >>> agent = squeezerl.Agent.from_torch(actor, bounds=(-1, 1))

        Args:
            module: a `torch.nn.Module`; it is read as it acts after `eval()`, and stays as it is.
            observation_shape: of one observation; unless given, what its first layer takes.
            bounds: that its outputs are clipped to, two numbers or sequences; `None` for none.
            discrete: the action is the index of the largest output.
            env_id: of the environment that it was trained on, if there is one.

        Raises:
            CheckpointError: if weights are not finite, or do not fit together.
            UnsupportedPolicyError: if it is no multilayer perceptron; the message names the
                function and the submodule.
        """
        from squeezerl.agents.torch_module import network_of_module

        network = network_of_module(module, observation_shape, bounds=bounds, is_discrete=discrete)
        source = AgentSource(
            kind="torch",
            path=f"{type(module).__module__}.{type(module).__qualname__}",
            algorithm="",
            env_id=env_id,
            env_kwargs={},
            files=(),
            activation_from="the module",
        )
        return cls(network, source)

    def save(self, folder: Path) -> None:
        """Write the agent to a folder, from which `Agent.read` reads it in any other process."""
        self.network.save(folder / _NETWORK)
        text = json.dumps(self.source.to_json())
        (folder / _SOURCE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Agent:
        """The agent that `save` wrote; nothing in the files is executed.

        Raises:
            CheckpointError: if the files are missing or damaged.
        """
        try:
            source = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
            return cls(Network.load(folder / _NETWORK), AgentSource.from_json(source))
        except (OSError, ValueError, KeyError, TypeError, NetworkError) as error:
            raise CheckpointError(f"{folder}: not a saved agent, or damaged ({error})") from error


class Source(ABC):
    """Reads one kind of checkpoint; register one with `SOURCES.register(source.kind, source)`.

    A source executes nothing of what it reads, and raises a `CheckpointError` for files that are
    damaged, hostile or inconsistent.
    """

    kind: ClassVar[str]
    """Its name, which `AgentSource.kind` repeats, for example "stable-baselines3"."""
    takes: ClassVar[str]
    """What it reads, for messages, for example "a Stable-Baselines3 .zip"."""
    takes_activation: ClassVar[bool] = False
    """Whether `load` takes an `activation`, since its files may not say which one they need."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether `path` looks like one of its checkpoints, sound or not; a quick look."""

    @abstractmethod
    def load(self, path: Path, *, normalizer: Path | None = None) -> Agent:
        """The agent at `path`, which it recognises.

        Args:
            path: a file or a folder.
            normalizer: the file of the observation normaliser, if it is not found with `path`;
                `NO_NORMALIZER` for none, even where one is found.

        Raises:
            CheckpointError: if a file is missing, damaged, hostile or inconsistent.
            UnsupportedPolicyError: if the policy is of a kind that is not supported.
        """


def _import_built_in() -> None:
    import squeezerl.agents.sources.checkpoint
    import squeezerl.agents.sources.float_artifact
    import squeezerl.agents.sources.onnx_graph
    import squeezerl.agents.sources.stable_baselines3.source
    import squeezerl.agents.sources.torchscript  # noqa: F401


SOURCES: Registry[Source] = Registry("source", built_in=_import_built_in)


def demo_agent_path() -> Path:
    """The agent that comes with the library: PPO on HalfCheetah-v5, in rl-zoo's layout."""
    return Path(__file__).parent / "demo" / "ppo" / "HalfCheetah-v5_1"


def agent_path(name: str | Path) -> Path:
    """Where an agent lies: "demo" is the bundled one, unless there is something of that name.

    Agents on the Hugging Face Hub ("hf://sb3/ppo-Hopper-v3") are fetched into its cache.
    """
    if is_on_hub(name):
        return fetch(name)
    return demo_agent_path() if _is_demo(name) else Path(name)


def _is_demo(name: str | Path) -> bool:
    return str(name) == DEMO and not Path(name).exists()


def load_agent(
    path: str | Path,
    *,
    vecnormalize: str | Path | None = None,
    activation: str | None = None,
    clip_actions: str | None = None,
) -> Agent:
    """Load a trained agent with the first registered source that recognises it.

    Example:
        >>> agent = squeezerl.load_agent("demo")
        >>> agent.source.env_id
        'HalfCheetah-v5'

    Args:
        path: a Stable-Baselines3 zip, an rl-zoo folder (`.../Hopper-v3_1`), an artifact in float,
            "demo" for the bundled agent, "hf://organisation/name" for one on the Hugging Face Hub,
            or what another registered source reads.
        vecnormalize: file of the observation normaliser, if it is not found beside the checkpoint;
            "none" plays the policy without one.
        activation: between the layers, for weights that do not say which: "elu", "leaky_relu:0.1".
        clip_actions: bounds that the policy is to clip its actions to where its files have none,
            since its trainer's environment did: "-1:1", or "1" for the same.

    Raises:
        CheckpointError: if a file is missing, damaged, hostile or inconsistent, or if no source
            recognises it.
        InvalidArgumentError: if it has an activation or bounds of its own already.
        UnsupportedPolicyError: if the policy is of a kind that is not supported.
    """
    found = agent_path(path)
    normalizer = None if vecnormalize is None else Path(vecnormalize)
    source, given = _source_of(found), {}
    if activation is not None:
        if not source.takes_activation:
            raise InvalidArgumentError(
                f"{path}: such a file says which activation it has; give no `activation`"
            )
        given["activation"] = _activation_named(activation)
    agent = source.load(found, normalizer=normalizer, **given)
    name = DEMO if _is_demo(path) else str(path)
    agent = replace(agent, source=replace(agent.source, path=name))
    return agent if clip_actions is None else _clipped(agent, clip_actions)


def _clipped(agent: Agent, text: str) -> Agent:
    """The same agent, with its actions clipped to the bounds that a text gives."""
    if agent.network.head.is_discrete or agent.network.head.has_bounds:
        kind = "are choices" if agent.network.head.is_discrete else "have bounds already"
        raise InvalidArgumentError(
            f"{agent.source.path}: its actions {kind}; give no `clip_actions`"
        )
    first, colon, second = text.partition(":")
    try:
        low, high = (float(first), float(second)) if colon else (-float(first), float(first))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise InvalidArgumentError(
            f"`clip_actions` is {text!r}; write LOW:HIGH, for example -1:1, or 1 for the same"
        )

    def bounded(network: Network) -> Network:
        ends = (np.full(network.head.low.shape, end, np.float32) for end in (low, high))
        return replace(network, head=replace(network.head, low=next(ends), high=next(ends)))

    sampled = None if agent.sampled is None else bounded(agent.sampled)
    return replace(agent, network=bounded(agent.network), sampled=sampled)


def _activation_named(text: str) -> str:
    """The text of the activation of a name in any spelling, such as "leaky_relu:0.1"."""
    name, colon, numbers = text.partition(":")
    names = {known.lower(): known for known in ACTIVATIONS}
    found = names.get(name.replace("_", "").lower(), name)
    try:
        return str(Activation.of(f"{found}{colon}{numbers}"))
    except NetworkError as error:
        raise InvalidArgumentError(f"`activation`: {error}") from error


def source_file(role: str, path: Path) -> SourceFile:
    """The record of a file that an agent was read from; `role` as in `SourceFile`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SourceFile(role=role, name=path.name, sha256=digest)


def read_limited(path: Path) -> bytes:
    """The content of a checkpoint's file.

    Raises:
        CheckpointError: if it cannot be read, or is larger than any checkpoint.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: larger than any policy, {_MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error


def zip_names(path: Path) -> list[str] | None:
    """The names of what is in a zip; `None` if the file is none, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


@contextmanager
def reading(
    path: Path, *, damaged: str = "damaged ({})", what: str | None = None
) -> Iterator[None]:
    """Make errors name the file, and turn what a hostile file makes readers raise into ours.

    Args:
        path: the file.
        damaged: what to say of a file that makes the readers fail; {} is where the reason goes.
        what: what the file should be, as `what_it_is` says it; if it is something else, errors
            begin with that.
    """
    try:
        yield
    except SqueezeRLError as error:
        found = None if what is None else what_it_is(path)
        other = "" if found in (None, what) else f"{found}; "
        raise type(error)(f"{path}: {other}{error}") from error
    except Exception as error:
        reason = str(error)[:200] or type(error).__name__
        raise CheckpointError(f"{path}: {damaged.format(reason)}") from error


def exported_source(
    kind: str, path: Path, activation_from: str | None, **facts: Any
) -> AgentSource:
    """The source of a policy that stands in one file, without an environment.

    Args:
        kind: of the source.
        path: the file.
        activation_from: see `AgentSource`, as for `facts`.
        facts: fields of `AgentSource` that are known as well.
    """
    known = {"algorithm": "", "env_id": None, "env_kwargs": {}} | facts
    return AgentSource(
        kind=kind,
        path=str(path),
        files=(source_file("checkpoint", path),),
        activation_from=activation_from,
        **known,
    )


def refuse_normalizer(path: Path, normalizer: Path | None) -> None:
    """Refuse the file of a normaliser where a policy has its own inside, if it has one."""
    if normalizer is not None and normalizer != NO_NORMALIZER:
        raise CheckpointError(
            f"{path}: such a policy has its normaliser inside; `vecnormalize` is for agents of "
            "Stable-Baselines3"
        )


def _source_of(path: Path) -> Source:
    try:
        for source in SOURCES:
            if source.recognises(path):
                return source
        raise CheckpointError(f"{path}: {_what_is_there(path)}")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error


def _what_is_there(path: Path) -> str:
    known = "; ".join(f"{source.kind} ({source.takes})" for source in SOURCES)
    if not path.exists():
        return f"no such file; an agent can be of these kinds: {known}"
    if path.is_dir():
        names = sorted(item.name for item in path.iterdir())
        there = f"a folder with {', '.join(names[:5])}" if names else "an empty folder"
        if len(names) > 5:
            there += f" and {len(names) - 5} more"
    else:
        there = f"a file of {path.stat().st_size:,} bytes"
    if foreign := what_it_is(path):
        there = foreign
    return f"{there}; no known kind of agent: {known}"
