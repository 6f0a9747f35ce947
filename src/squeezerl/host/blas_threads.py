"""How many threads BLAS uses, chosen by timing them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from threadpoolctl import ThreadpoolController

_Step = TypeVar("_Step")
# Each number of threads is timed over so many steps, and all of them again after so many seconds.
_TIMED, _EVERY_S = 8, 10.0


class BlasThreads:
    """Within this context BLAS uses one thread, except in a loop over `fastest`.

    Threads of BLAS keep their cores busy while they wait for each other. On an idle machine two of
    them can halve the time of large products; beside another program they take ten times as long.
    """

    def __enter__(self) -> Self:
        self._blas = ThreadpoolController().select(user_api="blas")
        most = max((each.num_threads for each in self._blas.lib_controllers), default=1)
        self._before = self._blas.limit(limits=1)
        self._counts = [*(2**n for n in range((most - 1).bit_length())), most]
        return self

    def __exit__(self, *_: object) -> None:
        self._before.restore_original_limits()

    def fastest(self, steps: Iterable[_Step], sample: Callable[[], bytes]) -> Iterator[_Step]:
        """Yield the steps of a loop, and set the number of threads that is fastest at the time.

        It tries one thread, then two, four and so on up to the number that BLAS had, and stops
        when more threads are no faster. It tries again every ten seconds.

        Args:
            steps: of the loop.
            sample: computes what a step does, with arrays of the same shapes. If its result
                depends on the number of threads, all steps use one thread, so that the outcome of
                the loop never depends on timing.
        """
        can_vary = len({self._with(count, sample) for count in self._counts}) == 1
        trials = _Trials(self._counts if can_vary else [1], self._set)
        try:
            for step in steps:
                trials.begin_step()
                yield step
        finally:
            self._set(1)

    def _with(self, count: int, sample: Callable[[], bytes]) -> bytes:
        self._set(count)
        return sample()

    def _set(self, count: int) -> None:
        for library in self._blas.lib_controllers:
            library.set_num_threads(count)


class _Trials:
    """Times steps with each of the ascending counts until more threads are no faster."""

    def __init__(self, counts: list[int], set_count: Callable[[int], None]) -> None:
        self._counts, self._set = counts, set_count
        self._fastest, self._fastest_s = counts[0], float("inf")
        self._trying: int | None = None  # a position in `_counts`
        self._taken_s: list[float] = []
        self._began_s = self._try_at_s = 0.0
        set_count(counts[0])

    def begin_step(self) -> None:
        if len(self._counts) == 1:
            return
        now = time.perf_counter()
        if self._trying is not None:
            self._taken_s.append(now - self._began_s)
            self._judge(self._trying, now)
        elif now >= self._try_at_s:
            self._fastest_s = float("inf")
            self._try(0)
        self._began_s = time.perf_counter()

    def _judge(self, position: int, now: float) -> None:
        """Move on once this count was timed often enough, or is clearly slower than before."""
        is_whole = len(self._taken_s) == _TIMED
        if not is_whole and sum(self._taken_s) < _TIMED * self._fastest_s:
            return
        took_s = statistics.median(self._taken_s)
        is_faster = is_whole and took_s < self._fastest_s
        if is_faster:
            self._fastest, self._fastest_s = self._counts[position], took_s
        if is_faster and position + 1 < len(self._counts):
            self._try(position + 1)
        else:
            self._set(self._fastest)
            self._trying, self._try_at_s = None, now + _EVERY_S

    def _try(self, position: int) -> None:
        self._trying, self._taken_s = position, []
        self._set(self._counts[position])
