"""The action head: from the network's output to the action that the environment takes."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

HeadKind = Literal["clip", "tanh", "argmax"]


class ActionHead(nn.Module):
    """What turns a network's outputs into actions.

    `clip` clips to the bounds (Gaussian policies: PPO, A2C, TRPO). `tanh` squashes and stretches
    to the bounds (SAC, TQC, TD3, DDPG, squashed gSDE). `argmax` takes the index of the largest
    output (DQN, QR-DQN, categorical policies).

    Build it with `ActionHead.box` or `ActionHead.argmax`.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        kind: HeadKind,
        low: npt.NDArray[np.float32],
        high: npt.NDArray[np.float32],
        *,
        clip_mean: float | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.clip_mean = clip_mean
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    @classmethod
    def box(
        cls,
        kind: Literal["clip", "tanh"],
        low: npt.NDArray[np.float32],
        high: npt.NDArray[np.float32],
        *,
        clip_mean: float | None = None,
    ) -> Self:
        """A continuous head with bounds of shape (action features,).

        `clip_mean` bounds the outputs before the tanh, as SAC's gSDE actors do.
        """
        return cls(kind, low, high, clip_mean=clip_mean)

    @classmethod
    def argmax(cls) -> Self:
        """A discrete head; actions are int64 indices."""
        none = np.zeros(0, dtype=np.float32)
        return cls("argmax", none, none)

    @property
    def is_discrete(self) -> bool:
        """Whether actions are indices."""
        return self.kind == "argmax"

    def forward(self, outputs: Tensor) -> Tensor:
        """Actions (batch, action features), or indices (batch,), for outputs (batch, outputs)."""
        if self.kind == "argmax":
            return outputs.argmax(dim=1)
        if self.kind == "tanh":
            if self.clip_mean is not None:
                outputs = outputs.clamp(-self.clip_mean, self.clip_mean)
            return self.low + 0.5 * (torch.tanh(outputs) + 1.0) * (self.high - self.low)
        return torch.minimum(torch.maximum(outputs, self.low), self.high)
