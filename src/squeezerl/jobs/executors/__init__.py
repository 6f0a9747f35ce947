"""Where workers run: each executor is one module that registers itself in `EXECUTORS`."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Set as AbstractSet

from squeezerl.errors import ExecutionError
from squeezerl.jobs.store import Store
from squeezerl.jobs.worker import Assignment
from squeezerl.registry import Registry

# After this many workers in a row ended without taking a job, workers cannot start here. One that
# ends by itself will do so again; one that is killed may just have been unlucky.
_FRUITLESS_ENDS, _FRUITLESS_KILLS = 3, 50


class Executor(ABC):
    """Some workers, which are replaced when they end, until they are asked to stop.

    Args:
        assignment: what each worker works on.
        store: where jobs of workers that end are freed.
        workers: how many; `None` for one per core.
        address: of the cluster, for executors that have one.

    Raises:
        ExecutionError: if the workers cannot be started.
    """

    @abstractmethod
    def __init__(
        self, assignment: Assignment, store: Store, *, workers: int | None, address: str | None
    ) -> None: ...

    @staticmethod
    @abstractmethod
    def threads_per_job(workers: int | None) -> int:
        """How many threads a job may use if the caller does not say."""

    @abstractmethod
    def tend(self) -> None:
        """Free the jobs of workers that ended, and replace these unless asked to stop.

        Raises:
            ExecutionError: if workers end again and again; it holds the last worker's output.
        """

    @abstractmethod
    def names(self) -> AbstractSet[str]:
        """The names of the workers, as far as they are known."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """Let each worker finish its job, or leave it where it can go on, and take no other."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether all workers have ended."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait for this long, or until a worker ends."""

    @abstractmethod
    def close(self) -> None:
        """Kill the workers that are left, and free their jobs."""


class FruitlessEnds:
    """Counts workers that ended without having had a job."""

    def __init__(self) -> None:
        self._ends = self._kills = 0

    def note(self, *, had_job: bool, killed: bool, reason: str) -> None:
        """Count one worker that ended.

        Raises:
            ExecutionError: if too many in a row have ended so.
        """
        if had_job:
            self._ends = self._kills = 0
        elif killed:
            self._kills += 1
        else:
            self._ends += 1
        if self._ends >= _FRUITLESS_ENDS or self._kills >= _FRUITLESS_KILLS:
            raise ExecutionError(f"workers end without having done anything: {reason}")


def _import_built_in() -> None:
    for name in ("local", "ray"):
        importlib.import_module(f"{__name__}.{name}")


EXECUTORS: Registry[type[Executor]] = Registry("executor", built_in=_import_built_in)
