"""Evaluations during a training, as Stable-Baselines3's own callback would save them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from squeezerl.records import EvaluationRecord

# Evaluation seeds of their own: a model that was chosen as the best shall not be judged by the
# episodes that it was chosen for.
EVALUATION_SEED = 1_700_000_000


@dataclass
class Evaluations:
    """Steps, returns and lengths of all evaluations so far, and which was the best."""

    steps: list[int] = field(default_factory=list)
    returns: list[list[float]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)
    best: int | None = None

    def add(self, steps: int, record: EvaluationRecord, *, may_be_best: bool) -> bool:
        """Note an evaluation; whether it is the best so far."""
        self.steps.append(steps)
        self.returns.append([episode.return_ for episode in record.episodes])
        self.lengths.append([episode.length for episode in record.episodes])
        last = len(self.steps) - 1
        if may_be_best and (self.best is None or self.mean(last) > self.mean(self.best)):
            self.best = last
            return True
        return False

    def mean(self, index: int = -1) -> float:
        """Mean return of one evaluation."""
        return float(np.mean(self.returns[index]))

    def to_npz(self) -> bytes:
        """`evaluations.npz`: timesteps (n,), results and ep_lengths (n, episodes)."""
        content = io.BytesIO()
        np.savez(
            content,
            timesteps=np.array(self.steps),
            results=np.array(self.returns),
            ep_lengths=np.array(self.lengths),
        )
        return content.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {
            "steps": self.steps,
            "returns": self.returns,
            "lengths": self.lengths,
            "best": self.best,
        }
