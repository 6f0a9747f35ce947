"""The shared data language: plain immutable records of what was read and measured.

No torch here. Every record turns into JSON with `to_json` and unknown values are `None`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

# Among an environment's arguments: so many observations behind each other, as SB3's VecFrameStack
# has them; the oldest comes first, and zeros stand for those before the first, or the padding.
FRAME_STACK = "vec_frame_stack"
FRAME_PADDING = "vec_frame_padding"
# Images get their channels first, as by SB3's VecTransposeImage, if they have them last.
CHANNELS_FIRST = "vec_channels_first"
# Wrappers of rl-zoo, as `agents/env_wrappers.py` writes them, the innermost first; and how many
# numbers the policy observes behind them: where an environment gives as many by itself, they are
# not put on again.
ENV_WRAPPERS = "env_wrappers"
WRAPPED_SIZE = "env_wrapped_size"
# The entries of a dict observation that the policy sees, in its order, each with its size, such as
# "desired_goal:3".
DICT_PARTS = "env_dict_parts"


def to_json(record: Any) -> Any:
    """Turn records, tuples and mappings into what `json.dumps` takes."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, dict):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    return record


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that an agent was read from; `role` is "checkpoint" or "normalizer"."""

    role: str
    name: str
    sha256: str


def known_steps(found: Any) -> int | None:
    """The value from an untrusted file if it is a plausible number of steps, else `None`."""
    return found if type(found) is int and 0 < found < 2**53 else None


@dataclass(frozen=True, kw_only=True)
class AgentSource:
    """Where an agent came from.

    Args:
        kind: the source that read it, for example "stable-baselines3".
        path: what the user named.
        algorithm: in lower case; "" if the files do not say.
        env_id: of the environment that it was trained on; `None` if the files do not say.
        env_kwargs: arguments of that environment.
        files: what was read, the checkpoint first.
        versions: of the libraries that wrote the files, as far as these say.
        activation_from: what the name of the activation was read from, which need not be what the
            policy computed in training; `None` if the files do not say.
        trained_to: mean and standard deviation of the last returns in training, with actions as the
            training drew them; `None` if the files do not say.
        trained_steps: how many steps of the environment the agent learned from; `None` if the files
            do not say.
        may_lack_normalizer: whether there is none, and the files do not say that there was none in
            the training.
        metadata: what the exporter wrote beside the policy, for example the names of joints, the
            scale of actions and default positions.
    """

    kind: str
    path: str
    algorithm: str
    env_id: str | None
    env_kwargs: dict[str, Any]
    files: tuple[SourceFile, ...]
    versions: dict[str, str] = field(default_factory=dict)
    activation_from: str | None = None
    trained_to: tuple[float, float] | None = None
    trained_steps: int | None = None
    may_lack_normalizer: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What to call the agent in a few letters: its algorithm, or else its kind."""
        return self.algorithm or self.kind

    @property
    def sha256(self) -> str:
        """The hash of the checkpoint; of several files, that of their hashes."""
        hashes = [file.sha256 for file in self.files if file.role == "checkpoint"]
        return hashes[0] if len(hashes) == 1 else _sha256(hashes)

    def file(self, role: str) -> SourceFile | None:
        """The first file of this role."""
        return next((file for file in self.files if file.role == role), None)

    def to_json(self) -> dict[str, Any]:
        """The fields for JSON, and the names that they had in earlier releases."""
        normalizer = self.file("normalizer")
        data: dict[str, Any] = to_json(self)
        return data | {
            "sha256": self.sha256,
            "sb3_version": self.versions.get("stable-baselines3"),
            "vecnormalize": None if normalizer is None else normalizer.name,
            "vecnormalize_sha256": None if normalizer is None else normalizer.sha256,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote.

        Raises:
            KeyError, TypeError: if something is missing or of another type.
        """
        return cls(
            kind=data["kind"],
            path=data["path"],
            algorithm=data["algorithm"],
            env_id=data["env_id"],
            env_kwargs=data["env_kwargs"],
            files=tuple(SourceFile(**file) for file in data["files"]),
            versions=dict(data["versions"]),
            # Earlier releases did not write these.
            activation_from=data.get("activation_from"),
            trained_to=None if data.get("trained_to") is None else tuple(data["trained_to"]),
            trained_steps=known_steps(data.get("trained_steps")),
            may_lack_normalizer=data.get("may_lack_normalizer", False),
            metadata=dict(data.get("metadata", {})),
        )


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """One linear layer as it stands in a model, and the bytes of its numbers, packed."""

    name: str
    in_features: int
    out_features: int
    weight_dtype: str
    weight_bytes: int
    bias_bytes: int
    quantization_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of weights, bias, scales and zero points, those of its input included."""
        return self.weight_bytes + self.bias_bytes + self.quantization_bytes


@dataclass(frozen=True, kw_only=True)
class MethodRecord:
    """What tables, figures and findings need to know of a compression method.

    `name` stands in the `method` column of results ("ptdq"), `label` in legends, `short` in
    crowded tables. `group` is "quantization", "pruning", "training" or "reference": analysis
    compares the methods of one group with each other. `color`, `marker` and `dash` are
    matplotlib's.
    """

    name: str
    label: str
    short: str
    group: str
    color: str
    marker: str
    dash: str = "-"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """On-policy observations that fixed the activation ranges of a static quantization.

    `first_seed` is that of the first of the episodes they were taken from.
    """

    observations: int
    env_id: str
    env_kwargs: dict[str, Any]
    backend: str
    first_seed: int
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Learning:
    """The environment that a policy learned in, and the seed of all that was drawn meanwhile."""

    env_id: str
    env_kwargs: dict[str, Any]
    backend: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ObservationsRecord:
    """Which observations something was fitted to or measured on.

    `shape` is that of one observation. `origin` says where they came from: "episodes" of the agent
    itself, the name of a file, or "array" for an array that the caller passed in.
    """

    count: int
    shape: tuple[int, ...]
    sha256: str
    origin: str

    @classmethod
    def of(cls, observations: Any, origin: str) -> Self:
        """The record of an array (n, *shape)."""
        return cls(
            count=len(observations),
            shape=tuple(observations.shape[1:]),
            sha256=hashlib.sha256(observations.tobytes()).hexdigest(),
            origin=origin,
        )


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One complete episode. `return_` is the undiscounted sum of rewards."""

    seed: int
    return_: float
    length: int


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """The episodes of one policy in one environment, in the order of their seeds.

    Where actions are drawn, `noise_seed` is the seed of the first episode's noise, and each later
    episode has the next one; `None` where they are deterministic.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    backend: str
    seed: int
    episodes: tuple[Episode, ...]
    seconds: float
    noise_seed: int | None = None

    @property
    def returns(self) -> list[float]:
        """Return of each episode."""
        return [episode.return_ for episode in self.episodes]

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return sum(self.returns) / len(self.episodes)

    @property
    def steps(self) -> int:
        """Environment steps over all episodes."""
        return sum(episode.length for episode in self.episodes)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95 % confidence interval."""

    estimate: float
    low: float
    high: float

    def mapped(self, rising: Callable[[float], float]) -> Self:
        """The interval of a rising function of the figure."""
        return type(self)(
            estimate=rising(self.estimate), low=rising(self.low), high=rising(self.high)
        )


def bounded(name: str, interval: Interval | None, missing: Any = math.nan) -> dict[str, Any]:
    """An interval as three columns of a row."""
    if interval is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), missing)
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What a compressed policy kept of its baseline's return.

    `ratio` is R / R_baseline, `None` where returns are not clearly positive; `normalized` is
    (R - R_random) / (R_baseline - R_random). `verdict` is "keeps", "loses" or "undecided" for
    `threshold`, wrong with a probability of at most 1 - `verdict_confidence` over all looks at
    growing numbers of episodes; where it is "undecided", about `more_episodes` would decide it if
    what was seen so far holds, `None` if a million would not. `verdict` and `normalized` are
    `None` where the baseline is not clearly better than random (`baseline_trained` false).
    """

    ratio: Interval | None
    normalized: Interval | None
    threshold: float
    verdict: str | None
    verdict_confidence: float
    baseline_trained: bool
    episodes: int
    more_episodes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine and the libraries that a figure comes from; unknown is `None`.

    `cpu_flags` are the instructions that kernels are chosen by; `cores` are logical ones,
    `cores_available` those that this process may use; `load` is that of the last minute.
    """

    cpu: str
    cpu_flags: tuple[str, ...]
    cores: int
    cores_available: int
    physical_cores: int | None
    sockets: int | None
    governor: str | None
    virtual_machine: bool | None
    memory_bytes: int
    system: str
    kernel: str
    python: str
    libraries: dict[str, str]
    load: float | None

    @property
    def id(self) -> str:
        """A short hash of the machine without its load and its libraries."""
        facts = (self.cpu, self.cpu_flags, self.cores, self.memory_bytes, self.system)
        return _short_hash(facts)

    @property
    def id_with_libraries(self) -> str:
        """That, and a short hash of the interpreter and the libraries."""
        return f"{self.id}-{_short_hash((self.python, sorted(self.libraries.items())))[:4]}"


def _short_hash(facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
