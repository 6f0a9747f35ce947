"""What every runtime offers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Observations = npt.NDArray[np.float32]
Actions = npt.NDArray[Any]


class Actor(Protocol):
    """A policy in a runtime. Actions are those that batch size 1 would give, for any batch."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of one action; `()` if discrete."""

    @property
    def action_count(self) -> int | None:
        """Number of discrete actions; `None` if continuous or unknown."""

    def act(self, observations: Observations) -> Actions:
        """Actions (n, *action_shape) for raw observations (n, *observation_shape)."""
