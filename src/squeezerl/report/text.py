"""Figures as text for people."""

from __future__ import annotations

import numpy as np

from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.records import EvaluationRecord, Interval


def format_interval(interval: Interval | None) -> str:
    """For example "98.2 % [96.0, 100.1]"; a dash for what is not defined."""
    if interval is None:
        return "–"
    return f"{100 * interval.estimate:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def return_interval(record: EvaluationRecord) -> Interval | None:
    """The mean return with its 95 % interval, which one episode does not have."""
    if len(record.episodes) == 1:
        return None
    return mean_interval(record.returns, np.random.default_rng(record.seed))


def format_return(record: EvaluationRecord) -> str:
    """The mean return and its interval."""
    interval = return_interval(record)
    if interval is None:
        return f"{record.mean_return:,.1f} [one episode]"
    return f"{interval.estimate:,.1f} [{interval.low:,.1f}, {interval.high:,.1f}]"
