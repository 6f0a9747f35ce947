from __future__ import annotations

import functools
import pickle
import threading

import pytest

from squeezerl.errors import ExecutionError
from squeezerl.jobs.worker import pack_setup


def test_functions_that_cannot_be_imported_reach_a_worker() -> None:
    heard: list[int] = []
    packed = pack_setup([functools.partial(heard.extend, [1, 2]), lambda: 3])
    first, second = pickle.loads(packed)
    assert second() == 3
    assert first.args == ([1, 2],)
    assert pack_setup([]) == b""


def test_what_cannot_be_sent_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        ExecutionError, match=r"cannot be sent to workers: .*squeezerl\.load_plugin"
    ):
        pack_setup([functools.partial(print, threading.Lock())])
