"""Estimates and intervals as JSON has them; null where they are not defined."""

from __future__ import annotations

from squeezerl.records import Interval


def estimate(interval: Interval | None) -> float | None:
    """The estimate alone."""
    return None if interval is None else interval.estimate


def bounds(interval: Interval | None) -> list[float] | None:
    """Low and high."""
    return None if interval is None else [interval.low, interval.high]
