"""What executors have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from squeezerl.errors import ExecutionError

# Ends in a row without having had a job, until it is clear that workers do not start here. Those
# that end by themselves do so again; those that are killed may be lucky.
_FRUITLESS_ENDS, _FRUITLESS_KILLS = 3, 50


class Pool(ABC):
    """Workers that are replaced when they end, until they are asked to stop."""

    @abstractmethod
    def tend(self) -> None:
        """Free what ended workers held, and replace them unless they were asked to stop.

        Raises:
            ExecutionError: if they end again and again, with what they said.
        """

    @abstractmethod
    def names(self) -> set[str]:
        """Of its workers, as far as they are known."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """Let them end what they are at, or leave it where it can go on, and take nothing new."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether none is left."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until a worker ends."""

    @abstractmethod
    def close(self) -> None:
        """Kill those that are left and free what they held."""


class FruitlessEnds:
    """Counts ends of workers that came to nothing."""

    def __init__(self) -> None:
        self._ends = self._kills = 0

    def note(self, *, had_job: bool, killed: bool, told: str) -> None:
        """One worker ended.

        Raises:
            ExecutionError: if it is one too many.
        """
        if had_job:
            self._ends = self._kills = 0
        elif killed:
            self._kills += 1
        else:
            self._ends += 1
        if self._ends >= _FRUITLESS_ENDS or self._kills >= _FRUITLESS_KILLS:
            raise ExecutionError(f"workers end without having done anything: {told}")
