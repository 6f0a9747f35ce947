"""Settings that change while training, written as rl-zoo writes them."""

from __future__ import annotations

import math
from collections.abc import Callable

from squeezerl.errors import HyperparameterError

LINEAR = "lin_"


def schedule(value: float | str) -> float | Callable[[float], float]:
    """A number as it is; "lin_0.001" as a schedule from there straight down to 0 at the end.

    It is a class of Stable-Baselines3's own, so that saved agents load without this library.

    Raises:
        HyperparameterError: for any other text.
    """
    if not isinstance(value, str):
        return value
    try:
        initial = float(value.removeprefix(LINEAR))
    except ValueError:
        initial = math.nan
    if not value.startswith(LINEAR) or not math.isfinite(initial):
        raise HyperparameterError(f"{value!r} is not a schedule; write {LINEAR}0.001, for example")
    from stable_baselines3.common.utils import LinearSchedule

    linear: Callable[[float], float] = LinearSchedule(initial, 0.0, 1.0)
    return linear
