"""BLAS gets the number of threads with which steps are fastest."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from squeezerl.host import blas_threads
from squeezerl.host.blas_threads import BlasThreads


def count() -> int:
    (number,) = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
    return int(number)


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    with threadpool_limits(4, user_api="blas"):
        yield


class Clock:
    """Time that passes only in `sleep`, so that a busy machine changes nothing."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(blas_threads, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def threads() -> Iterator[BlasThreads]:
    with BlasThreads() as entered:
        yield entered
    assert count() == 4


@pytest.mark.parametrize("fastest", [1, 2, 4])
def test_the_fastest_number_is_found(fastest: int, threads: BlasThreads, time: Clock) -> None:
    chosen = []
    for _ in threads.fastest(range(30), bytes):
        chosen.append(count())
        time.sleep(0.02 / count() if count() <= fastest else 0.04)
    assert chosen[-1] == fastest


def test_threads_that_are_far_slower_are_given_up_at_once(
    threads: BlasThreads, time: Clock
) -> None:
    chosen = []
    for _ in threads.fastest(range(30), bytes):
        chosen.append(count())
        time.sleep(0.001 if count() == 1 else 0.2)
    assert chosen[-1] == 1
    assert chosen.count(2) == 1


def test_a_single_thread_stays_alone() -> None:
    with threadpool_limits(1, user_api="blas"), BlasThreads() as threads:
        assert {count() for _ in threads.fastest(range(20), bytes)} == {1}


def test_there_is_one_thread_before_and_after_a_loop(threads: BlasThreads) -> None:
    assert count() == 1
    for step in threads.fastest(range(20), bytes):
        if step == 12:
            break
    assert count() == 1


def test_one_thread_stays_where_bits_depend_on_their_number(threads: BlasThreads) -> None:
    sampled: list[int] = []

    def sample() -> bytes:
        sampled.append(count())
        return str(count() == 4).encode()

    assert {count() for _ in threads.fastest(range(20), sample)} == {1}
    assert sampled == [1, 2, 4]
