"""BLAS gets the number of threads with which steps are fastest."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from squeezerl.host.blas_threads import fastest_threads


def threads() -> int:
    (count,) = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}
    return int(count)


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    with threadpool_limits(4, user_api="blas"):
        yield


@pytest.mark.parametrize("fastest", [1, 2, 4])
def test_the_fastest_number_is_found_and_the_former_restored(fastest: int) -> None:
    chosen = []
    for _ in fastest_threads(range(30)):
        chosen.append(threads())
        time.sleep(0.02 / threads() if threads() <= fastest else 0.04)
    assert chosen[-1] == fastest
    assert threads() == 4


def test_threads_that_are_far_slower_are_given_up_at_once() -> None:
    chosen = []
    for _ in fastest_threads(range(30)):
        chosen.append(threads())
        time.sleep(0.001 if threads() == 1 else 0.2)
    assert chosen[-1] == 1
    assert chosen.count(2) == 1


def test_a_single_thread_stays_alone() -> None:
    with threadpool_limits(1, user_api="blas"):
        assert {threads() for _ in fastest_threads(range(20))} == {1}


def test_a_loop_that_ends_early_leaves_the_threads_as_they_were() -> None:
    for step in fastest_threads(range(20)):
        if step == 3:
            break
    assert threads() == 4


def test_products_have_the_same_bits_with_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    for rows, inner, columns in ((512, 376, 256), (512, 400, 300), (333, 27, 17), (1, 64, 8)):
        left = rng.normal(size=(rows, inner)).astype(np.float32)
        right = rng.normal(size=(inner, columns)).astype(np.float32)
        found = set()
        for count in (1, 2, 4):
            with threadpool_limits(count, user_api="blas"):
                found.add(((left @ right).tobytes(), (right.T @ left.T).tobytes()))
        assert len(found) == 1
