"""The environment of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from squeezerl.evaluation.environment import Environment


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment to train or play in, and the backend that runs it.

    `max_steps`, the limit of an episode, is for estimates only.
    """

    env_id: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    max_steps: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Place:
        """The place that is in a job's parameters, where `params` has put it."""
        return cls(**{name: params[name] for name in ("env_id", "env_kwargs", "backend")})

    @property
    def params(self) -> dict[str, Any]:
        """The place as parameters of a job."""
        return {
            "env_id": self.env_id,
            "env_kwargs": dict(self.env_kwargs),
            "backend": self.backend,
        }

    @property
    def name(self) -> str:
        """As results name it: an environment with other arguments is another environment."""
        if not self.env_kwargs:
            return self.env_id
        given = ", ".join(f"{name}={value}" for name, value in sorted(self.env_kwargs.items()))
        return f"{self.env_id} ({given})"

    def find(self) -> Environment:
        """The environment itself.

        Raises:
            EnvError: if it is not installed here, or not for this backend.
        """
        return Environment.find(self.env_id, self.env_kwargs, backend=self.backend)

    def found(self, environment: Environment) -> Place:
        """This place with the backend and the limit of the environment that was found.

        With the backend in their parameters, all workers run the environment alike.
        """
        return dataclasses.replace(
            self, backend=environment.backend, max_steps=environment.max_episode_steps
        )
