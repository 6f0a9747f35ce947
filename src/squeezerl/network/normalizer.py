"""Observation normalisation as VecNormalize does it, in single precision."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class ObservationNormalizer(nn.Module):
    """clip((observation - mean) / sqrt(variance + epsilon), -clip, clip).

    Args:
        mean: running mean, shape (features,).
        variance: running variance, shape (features,).
        epsilon: added to the variance.
        clip: bound of the normalised values.

    Raises:
        ValueError: if the statistics are not finite in single precision.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(
        self,
        mean: npt.NDArray[np.float64],
        variance: npt.NDArray[np.float64],
        *,
        epsilon: float,
        clip: float,
    ) -> None:
        super().__init__()
        with np.errstate(divide="ignore"):
            inverse_std = 1.0 / np.sqrt(variance + epsilon)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("inverse_std", torch.as_tensor(inverse_std, dtype=torch.float32))
        self.clip = float(clip)
        self._check_finite()

    @classmethod
    def from_inverse_std(cls, mean: Tensor, inverse_std: Tensor, *, clip: float) -> Self:
        """A normaliser of exactly these float32 statistics, as another one holds them.

        The way through a variance would round `inverse_std` a second time.
        """
        unit = np.zeros(len(mean)), np.ones(len(mean))
        normalizer = cls(*unit, epsilon=0.0, clip=clip)
        normalizer.mean.copy_(mean)
        normalizer.inverse_std.copy_(inverse_std)
        normalizer._check_finite()
        return normalizer

    def _check_finite(self) -> None:
        if not (torch.isfinite(self.mean).all() and torch.isfinite(self.inverse_std).all()):
            raise ValueError("mean and 1 / sqrt(variance + epsilon) must be finite in float32")

    def forward(self, observations: Tensor) -> Tensor:
        """Normalise observations of shape (batch, features)."""
        normalized = (observations - self.mean) * self.inverse_std
        return normalized.clamp(-self.clip, self.clip)
