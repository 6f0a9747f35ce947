"""What ranges become in int8: scales and zero points of activations, as training fixed them."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = 255
SYMMETRIC_ZERO_POINT = 128


@dataclass(frozen=True, kw_only=True)
class ActivationScale:
    """An activation x is stored as the uint8 round(x / scale) + zero_point."""

    scale: float
    zero_point: int


def symmetric_scale(bound: float) -> ActivationScale:
    """For values in [-bound, bound]; 0 is exact."""
    return ActivationScale(scale=bound / (LEVELS // 2), zero_point=SYMMETRIC_ZERO_POINT)


def affine_scale(low: float, high: float) -> ActivationScale:
    """For values in [low, high], widened to hold 0, which is exact (arXiv 1712.05877, eq. 1)."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-8) / LEVELS
    return ActivationScale(scale=scale, zero_point=round(-low / scale))
