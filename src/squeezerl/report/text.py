"""Numbers as text for people, and intervals as JSON has them."""

from __future__ import annotations

import numpy as np

from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.records import EvaluationRecord, Interval, Retention

DASH = "–"


def estimate(interval: Interval | None) -> float | None:
    """The estimate as JSON has it; null where it is not defined."""
    return None if interval is None else interval.estimate


def bounds(interval: Interval | None) -> list[float] | None:
    """Low and high as JSON has them; null where they are not defined."""
    return None if interval is None else [interval.low, interval.high]


def algorithm_label(algorithm: str) -> str:
    """For example "PPO"."""
    return algorithm.upper()


def format_interval(interval: Interval | None) -> str:
    """For example "98.2 % [96.0, 100.1]"; a dash for what is not defined."""
    if interval is None:
        return DASH
    return f"{100 * interval.estimate:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def more_needed(retention: Retention) -> str:
    """What an undecided verdict lacks, to be put behind it; empty for other verdicts."""
    if retention.verdict != "undecided":
        return ""
    if retention.more_episodes is None:
        return "; a million more would not decide it"
    return f"; about {retention.more_episodes:,} more would decide it"


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


def format_number_interval(interval: Interval) -> str:
    """For example "123.4 [120.0, 126.9]"; without decimals from 1,000 on."""
    digits = 0 if max(abs(interval.low), abs(interval.high)) >= 1000 else 1
    return (
        f"{interval.estimate:,.{digits}f} [{interval.low:,.{digits}f}, {interval.high:,.{digits}f}]"
    )


def format_times_interval(interval: Interval) -> str:
    """For example "1.05x [1.02, 1.08]"."""
    return f"{interval.estimate:.2f}x [{interval.low:.2f}, {interval.high:.2f}]"


_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def format_si(value: float, unit: str) -> str:
    """Three digits and a prefix, for example "12.3 µs"; below a nano-unit as a power of ten."""
    if value == 0:
        return f"0 {unit}"
    for scale, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * scale:
            scaled = value / scale
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:.1e} {unit}"


def format_si_interval(interval: Interval, unit: str) -> str:
    """For example "12.3 µs [12.1, 12.6]", all three with the estimate's prefix."""
    text = format_si(interval.estimate, unit)
    number, _, suffix = text.partition(" ")
    prefix = suffix.removesuffix(unit)
    scale = next((scale for scale, name in _PREFIXES if name == prefix), 1.0)
    digits = len(number.partition(".")[2])
    if interval.estimate == 0 or "e" in number:
        return f"{text} [{interval.low:.1e}, {interval.high:.1e}]"
    return f"{text} [{interval.low / scale:.{digits}f}, {interval.high / scale:.{digits}f}]"
