"""Evaluations during a training, as Stable-Baselines3's own callback would save them."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from squeezerl.errors import CheckpointError
from squeezerl.evaluation.environment import Environment
from squeezerl.records import Episode, EvaluationRecord

# Evaluation seeds of their own: a model that was chosen as the best shall not be judged by the
# episodes that it was chosen for.
EVALUATION_SEED = 1_700_000_000


@dataclass
class Evaluations:
    """Steps, returns, lengths and duration of all evaluations so far, and which was the best."""

    steps: list[int] = field(default_factory=list)
    returns: list[list[float]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best: int | None = None

    def add(self, steps: int, record: EvaluationRecord, *, may_be_best: bool) -> bool:
        """Note an evaluation; whether it is the best so far."""
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
        """Mean return of the best one."""
        return None if self.best is None else self.mean(self.best)

    def latest(self, environment: Environment) -> EvaluationRecord | None:
        """The last one, as a record."""
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
        """`evaluations.npz`: timesteps (n,), results and ep_lengths (n, episodes), and our own."""
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
        """What `to_npz` wrote."""
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
        """What `to_json` gave; `path` is where it was read.

        Raises:
            CheckpointError: if it is something else.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise CheckpointError(f"{path}: damaged ({error})") from error
