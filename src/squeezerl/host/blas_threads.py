"""As many threads of BLAS as are fastest while other programs run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from threadpoolctl import ThreadpoolController

_Step = TypeVar("_Step")
# So many steps are timed with each number of threads, once in so many seconds.
_TIMED, _EVERY_S = 8, 10.0


def fastest_threads(steps: Iterable[_Step]) -> Iterator[_Step]:
    """The steps of a loop, each with as many threads of BLAS as are fastest at that time.

    It tries one thread, two, four and so on up to as many as BLAS had, as long as more are faster,
    and tries again every ten seconds. Threads of BLAS keep their cores while they wait for each
    other: two of them halve the time of large products on an idle machine, but take ten times as
    long beside another program. Results do not depend on their number.
    """
    blas = ThreadpoolController().select(user_api="blas")
    with blas.limit():
        trials = _Trials(blas)
        for step in steps:
            trials.begin_step()
            yield step


class _Trials:
    def __init__(self, blas: ThreadpoolController) -> None:
        self._blas = blas
        most = max((each.num_threads for each in blas.lib_controllers), default=1)
        self._counts = [*(2**n for n in range((most - 1).bit_length())), most]
        self._fastest, self._fastest_s = most, float("inf")
        self._trying: int | None = None  # a position in `_counts`
        self._taken_s: list[float] = []
        self._began_s = self._try_at_s = 0.0

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
        """Go on when these threads were timed often enough, or are clearly slower than others."""
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

    def _set(self, count: int) -> None:
        for library in self._blas.lib_controllers:
            library.set_num_threads(count)
