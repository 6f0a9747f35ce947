"""What every runtime offers, and which there are. Evaluation and measuring use the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from squeezerl.errors import InvalidArgumentError
from squeezerl.network.network import Network, Part
from squeezerl.registry import Registry
from squeezerl.runtimes.noise import NoiseStreams

Observations = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


class Deployed(Protocol):
    """What a runtime loads: an artifact, or the part of it that a fresh process is given."""

    @property
    def network(self) -> Network:
        """The policy as data."""

    @property
    def model(self) -> bytes:
        """The same as an ONNX file."""

    @property
    def algorithm(self) -> str:
        """That the agent was trained with, for example "ppo"."""


class Sizes(Protocol):
    """What a network, an environment and an actor have in common."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action; `()` if it is one index."""

    @property
    def choices(self) -> tuple[int, ...] | None:
        """For each index in an action, how many values it can take; `None` if continuous."""


@dataclass(frozen=True, eq=False)
class Payload:
    """A `Deployed` that travels to a fresh process in a folder, which needs NumPy to read it."""

    network: Network
    model: bytes
    algorithm: str

    @classmethod
    def of(cls, deployed: Deployed) -> Self:
        """What is deployed, without what else an artifact holds."""
        return cls(deployed.network, deployed.model, deployed.algorithm)

    def save(self, folder: Path) -> None:
        """Write it to a new folder."""
        folder.mkdir()
        self.network.save(folder / "network.npz")
        (folder / "policy.onnx").write_bytes(self.model)
        (folder / "algorithm").write_text(self.algorithm, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        return cls(
            Network.load(folder / "network.npz"),
            (folder / "policy.onnx").read_bytes(),
            (folder / "algorithm").read_text(encoding="utf-8"),
        )


class Actor(ABC):
    """A loaded policy. Actions are those that batch size 1 would give, for any batch.

    Args:
        sizes: has its shapes: a network, or an environment.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.observation_shape = sizes.observation_shape
        self.action_shape = sizes.action_shape
        self.choices = sizes.choices
        self.observation_parts = sizes.observation_parts if isinstance(sizes, Network) else ()
        self._noise = (
            NoiseStreams(sizes) if isinstance(sizes, Network) and sizes.head.sampling else None
        )

    @property
    def draws(self) -> bool:
        """Whether actions are drawn, so that they depend on the seeds of the episodes."""
        return self._noise is not None

    def seed_noise(self, rows: Rows, seeds: Sequence[int]) -> None:
        """The episodes that begin in these rows have these seeds: actions are drawn with them.

        A policy that does not draw its actions ignores it. Unless seeded, a row has its own number
        as its seed.
        """
        if self._noise is not None:
            self._noise.seed(rows, seeds)

    def start(self, rows: Rows) -> None:  # noqa: B027 - most policies have nothing to forget
        """New episodes begin in these rows: a policy with state forgets what it knew of them."""

    @abstractmethod
    def act(self, observations: Any, rows: Rows | None = None) -> Actions:
        """Actions (n, *action_shape) for raw observations (n, *observation_shape), float32.

        Args:
            observations: one for each row; or, where the policy's are the entries of a dict
                (`observation_parts`), the dict of these, each (n, *shape).
            rows: which episodes they are of, for policies with state; unless given, 0, 1, ...

        Raises:
            InvalidArgumentError: if the observations have another shape, or an entry is missing.
        """

    def for_batches(self) -> Actor:
        """An actor with the same actions, for evaluation: it may be faster with batches."""
        return self

    def working_bytes(self, observations: Observations) -> int | None:
        """Most bytes of intermediate results that one `act` holds; `None` if not known."""
        return None

    def gpu_memory(self) -> dict[str, int] | None:
        """Bytes that the runtime's allocator holds on a GPU; `None` on the CPU."""
        return None

    def _checked(self, observations: Any) -> Observations:
        """The observations of `act`, flat and float32; raises what `act` promises."""
        if isinstance(observations, dict):
            return _joined(observations, self.observation_parts)
        array: Observations = np.asarray(observations, dtype=np.float32)
        if array.ndim == 0 or array.shape[1:] != self.observation_shape:
            raise InvalidArgumentError(
                f"observations of shape {array.shape} given, a batch of shape (n, "
                f"{', '.join(map(str, self.observation_shape))}) needed; for a single one, "
                "act(observation[None])[0]"
            )
        return array


def _joined(entries: Mapping[str, Any], parts: Sequence[Part]) -> Observations:
    """The flat observations (n, features) of a dict of entries; those of other names are ignored.

    Raises:
        InvalidArgumentError: if one is missing or of another shape.
    """
    if not parts:
        raise InvalidArgumentError(
            "a dict of observations given, but this policy's are not the entries of one: "
            "give an array"
        )
    if missing := [part.name for part in parts if part.name not in entries]:
        raise InvalidArgumentError(
            f"the dict of observations lacks {', '.join(missing)}; it has {', '.join(entries)}"
        )
    arrays = [np.asarray(entries[part.name], np.float32) for part in parts]
    count = len(arrays[0]) if arrays[0].ndim else 0
    for part, array in zip(parts, arrays, strict=True):
        if array.shape != (count, *part.shape):
            raise InvalidArgumentError(
                f"{part.name!r} is of shape {array.shape}; each entry must be a batch, here of "
                f"shape (n, {', '.join(map(str, part.shape))}) with the same n. For a single "
                "observation, act({name: entry[None] for name, entry in observation.items()})[0]"
            )
    sizes = [part.stop - part.start for part in parts]
    return np.concatenate([a.reshape(count, s) for a, s in zip(arrays, sizes, strict=True)], axis=1)


class Runtime(ABC):
    """A way to run policies. Its module must be light: libraries are imported when they are used.

    `is_gpu` tells whose energy and memory are measured; `package` is the installed package that
    does the work, `install` what `pip install` takes to get it. `draws` says that its actors draw
    actions, from `NoiseStreams`, where the network's head says so.
    """

    name: str
    is_gpu: bool = False
    draws: bool = False
    package: str | None = None
    install: str = ""

    @property
    def version(self) -> str | None:
        """The version of its package; `None` if it is not installed, or if there is none."""
        if self.package is None:
            return None
        # Four megabytes that a process with the native runtime can do without.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.package)
        except PackageNotFoundError:
            return None

    def problem(self) -> str | None:
        """Why it cannot run on this machine; `None` if it can."""
        if self.package is not None and self.version is None:
            return f"not installed: pip install '{self.install}'"
        return None

    def import_library(self, algorithm: str) -> None:  # noqa: B027 - some need no library
        """Import all that `load` and the actor need for an agent of this algorithm.

        Raises:
            SqueezeRLError: if it is not installed.
        """

    def refusal(self, network: Network, algorithm: str) -> str | None:
        """Why this runtime cannot run a network; `None` if it can."""
        return None

    def cannot_run(self, network: Network, algorithm: str) -> str | None:
        """The `refusal`, or that it cannot draw the actions of a policy that draws them."""
        if network.head.sampling is not None and not self.draws:
            return "the policy draws its actions, and this runtime cannot"
        return self.refusal(network, algorithm)

    @abstractmethod
    def load(self, deployed: Deployed, *, threads: int = 1) -> Actor:
        """The actor of what was deployed.

        Raises:
            SqueezeRLError: if it cannot be loaded here.
        """


def _register_own() -> None:
    import squeezerl.runtimes.native
    import squeezerl.runtimes.onnx_runtime
    import squeezerl.runtimes.stable_baselines3
    import squeezerl.runtimes.torch_eager  # noqa: F401 - each registers its runtimes


RUNTIMES: Registry[Runtime] = Registry("runtime", built_in=_register_own)
