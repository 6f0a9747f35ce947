"""What a training reports: its progress, its evaluations and its result. Needs no torch."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError
from squeezerl.evaluation.environment import Environment
from squeezerl.records import Episode, EvaluationRecord

# Evaluations use seeds of their own, so that the best model is not judged later by the episodes
# that it was chosen for.
EVALUATION_SEED = 1_700_000_000


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How far a training is.

    `mean_return` is over the latest training episodes, `evaluation` over the episodes of the
    latest evaluation.
    """

    steps: int
    total_steps: int
    mean_return: float | None
    evaluation: float | None


Progress = Callable[[TrainingProgress], None]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The outcome of a training.

    `evaluation` is the last one, of the policy as it is deployed; `best_return` is the mean return
    of the best one. `seconds` counts this process only, which made `new_steps` steps. `complete` is
    false if the training was asked to stop. `artifact` is the folder of the integer policy, if
    there is one.
    """

    path: Path
    algorithm: str
    env_id: str
    seed: int
    steps: int
    new_steps: int
    seconds: float
    complete: bool
    evaluation: EvaluationRecord | None
    best_return: float | None
    artifact: Path | None


@dataclass
class Evaluations:
    """All evaluations so far: steps, returns, lengths, duration, and the index of the best."""

    steps: list[int] = field(default_factory=list)
    returns: list[list[float]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: int | None = None

    def add(self, steps: int, record: EvaluationRecord, *, may_be_best: bool) -> bool:
        """Add an evaluation; returns whether it is the best so far."""
        self.steps.append(steps)
        self.returns.append([episode.return_ for episode in record.episodes])
        self.lengths.append([episode.length for episode in record.episodes])
        self.seconds.append(record.seconds)
        last = len(self.steps) - 1
        if may_be_best and (self.best is None or self.mean(last) > self.mean(self.best)):
            self.best = last
            return True
        return False

    def mean(self, index: int = -1) -> float:
        """Mean return of one evaluation."""
        return float(np.mean(self.returns[index]))

    @property
    def best_return(self) -> float | None:
        """Mean return of the best evaluation."""
        return None if self.best is None else self.mean(self.best)

    def latest(self, environment: Environment) -> EvaluationRecord | None:
        """The last evaluation as a record."""
        if not self.steps:
            return None
        episodes = enumerate(zip(self.returns[-1], self.lengths[-1], strict=True))
        return EvaluationRecord(
            env_id=environment.id,
            env_kwargs=dict(environment.kwargs),
            backend=environment.backend,
            seed=EVALUATION_SEED,
            episodes=tuple(
                Episode(seed=EVALUATION_SEED + number, return_=return_, length=length)
                for number, (return_, length) in episodes
            ),
            seconds=self.seconds[-1],
        )

    def to_npz(self) -> bytes:
        """`evaluations.npz` with the arrays of Stable-Baselines3's EvalCallback and two of ours.

        These are timesteps (n,), results and ep_lengths (n, episodes); seconds and best are ours.
        """
        content = io.BytesIO()
        np.savez(
            content,
            timesteps=np.array(self.steps),
            results=np.array(self.returns),
            ep_lengths=np.array(self.lengths),
            seconds=np.array(self.seconds),
            best=np.array([] if self.best is None else [self.best], dtype=np.int64),
        )
        return content.getvalue()

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Evaluations:
        """The inverse of `to_npz`."""
        best = arrays["best"].tolist()
        return cls(
            steps=arrays["timesteps"].tolist(),
            returns=arrays["results"].tolist(),
            lengths=arrays["ep_lengths"].tolist(),
            seconds=arrays["seconds"].tolist(),
            best=best[0] if best else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, path: Path) -> Evaluations:
        """The inverse of `to_json`; `path` is the file that the data came from.

        Raises:
            CheckpointError: if the data is something else.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise CheckpointError(f"{path}: damaged ({error})") from error
