from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from cheap_jobs import arrays_of, cheap_job
from cheap_search import STUDY, expected_value
from crash_study import Command

from squeezerl.errors import ExecutionError, InvalidArgumentError, StoreError
from squeezerl.jobs.execute import execute
from squeezerl.jobs.job import Counts, Failure, Job, Status
from squeezerl.jobs.kinds import KINDS, register_kind
from squeezerl.jobs.location import Location
from squeezerl.jobs.presence import free_dead, is_dead, worker_name
from squeezerl.jobs.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _locks_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def put(url: str, *jobs: Job) -> None:
    with Store.open(url) as store:
        store.put_study("s", {}, [(job, {"n": job.params["number"]}) for job in jobs])


def run(url: str, folder: Path, **how: Any) -> Counts:
    how = {"workers": 2, "scratch": folder / "scratch", **how}
    return execute(url, "s", location=Location(str(folder / "artifacts")), **how)


def failure(url: str) -> Failure:
    with Store.open(url) as store:
        (found,) = store.failures("s")
    return found


def test_jobs_are_done_in_processes(store_url: str, tmp_path: Path) -> None:
    base = [cheap_job(n) for n in range(10)]
    top = cheap_job(100, tuple(base), exclusive=True)
    put(store_url, top, *base)
    seen: list[Status] = []
    counts = run(store_url, tmp_path, on_progress=seen.append)
    assert (counts.done, counts.total) == (11, 11)
    assert seen[-1].counts == counts
    with Store.open(store_url) as store:
        assert store.result(top.id).content == {"value": 145}
        (host,) = store.hosts()
        for row in store.results("s"):
            np.testing.assert_array_equal(row.arrays["file"], arrays_of(row.job)["file"])
            assert row.host_id == host
            assert row.seconds > 0


def test_what_fails_is_recorded_and_the_rest_is_done(url: str, tmp_path: Path) -> None:
    told = {
        "bug": "ZeroDivisionError: a bug",
        "refusal": "cannot be done",
        "not-json": "not plain JSON",
        "os": "the disk is away",
        "die": "ended by SIGKILL",
        "exit": "its worker ended with 7:\nlast words",
    }
    bad = [cheap_job(number, fault=fault) for number, fault in enumerate(told)]
    blocked = [cheap_job(number, (job,)) for number, job in enumerate(bad, 10)]
    put(url, *bad, *blocked, *(cheap_job(number) for number in range(20, 26)))
    counts = run(url, tmp_path)
    assert counts == Counts(pending=0, running=0, done=6, failed=6, blocked=6)
    with Store.open(url) as store:
        failures = {failure.job.params["fault"]: failure for failure in store.failures("s")}
    assert failures.keys() == told.keys()
    for fault, found in failures.items():
        assert told[fault] in found.error
        assert found.attempts == (3 if fault in ("os", "die", "exit") else 1)
        assert found.transient == (found.attempts > 1)


def test_a_transient_failure_is_repeated_until_the_job_succeeds(url: str, tmp_path: Path) -> None:
    put(url, cheap_job(1, trace=tmp_path, fault="os-twice"))
    assert run(url, tmp_path, workers=1).done == 1


def test_transient_failures_are_tried_again_by_the_next_run(url: str, tmp_path: Path) -> None:
    put(url, cheap_job(1, fault="refusal"), cheap_job(2))
    assert run(url, tmp_path, workers=1).failed == 1
    put(url, cheap_job(3, trace=tmp_path, fault="os-twice"), cheap_job(1, fault="refusal"))
    with Store.open(url) as store:
        claim = store.claim("s", "w", exclusive=False, lease_s=60)
        for _ in range(3):
            assert claim is not None
            store.fail(claim, "away", retry=True)
            claim = store.claim("s", "w", exclusive=False, lease_s=60)
    counts = run(url, tmp_path, workers=1)
    assert (counts.done, counts.failed) == (1, 1)
    assert not failure(url).transient


def _wait_until_running(url: str, jobs: int) -> None:
    deadline = time.monotonic() + 60
    with Store.open(url) as store:
        while store.counts("s").running < jobs:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_ctrl_c_stops_and_a_second_one_kills(url: str, tmp_path: Path) -> None:
    put(url, *(cheap_job(n, seconds=60) for n in range(3)))
    command = Command(url, "s", tmp_path)
    try:
        _wait_until_running(url, 2)
        workers = command.workers()
        command.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert command.process.poll() is None  # the jobs do not end early
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(20) != 0
    finally:
        command.process.kill()
    assert "KeyboardInterrupt" in command.output()
    assert not psutil.wait_procs(workers, timeout=10)[1]
    with Store.open(url) as store:
        assert store.counts("s").pending == 3


def test_a_restarted_command_takes_over_at_once_and_ends_orphans(url: str, tmp_path: Path) -> None:
    """Long before any lease ends."""
    put(url, cheap_job(1, trace=tmp_path, fault="orphan"))
    command = Command(url, "s", tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "orphan").exists() or not (tmp_path / "orphan").read_text():
            assert time.monotonic() < deadline, command.output()
            time.sleep(0.02)
        orphan = psutil.Process(int((tmp_path / "orphan").read_text()))
        assert command.kill_coordinator()
        started = time.monotonic()
        assert run(url, tmp_path, workers=1).done == 1
        assert time.monotonic() - started < 40
        assert not psutil.wait_procs([orphan], timeout=10)[1]
    finally:
        command.process.kill()


def test_several_commands_share_a_study(store_url: str, tmp_path: Path) -> None:
    jobs = [cheap_job(n, trace=tmp_path, seconds=0.02) for n in range(60)]
    put(store_url, *jobs)
    commands = [Command(store_url, "s", tmp_path, workers=1) for _ in range(2)]
    assert [command.process.wait(90) for command in commands] == [0, 0], commands[0].output()
    lines = (tmp_path / "trace.jsonl").read_text().splitlines()
    assert sum('"start"' in line for line in lines) == len(jobs)


def test_heartbeats_hold_a_job_that_takes_longer_than_its_lease(url: str, tmp_path: Path) -> None:
    put(url, cheap_job(1, trace=tmp_path, seconds=7.0))
    shares: list[float | None] = []

    def look(status: Status) -> None:
        shares.extend(job.progress for job in status.running)

    assert run(url, tmp_path, workers=1, lease_s=4.0, on_progress=look).done == 1
    assert (tmp_path / "trace.jsonl").read_text().count('"start"') == 1
    assert any(share is not None and 0 < share < 1 for share in shares)


def test_a_job_whose_lease_is_lost_ends_without_effect(url: str, tmp_path: Path) -> None:
    job = cheap_job(1, trace=tmp_path, fault="until-lost")
    put(url, job)

    def take_away(status: Status) -> None:
        for running in status.running:
            if not (tmp_path / "taken").exists():
                (tmp_path / "taken").touch()
                with Store.open(url) as store:
                    assert store.release_worker(running.worker) == 1

    assert run(url, tmp_path, workers=1, lease_s=2.0, on_progress=take_away).done == 1
    assert (tmp_path / "trace.jsonl").read_text().count('"start"') >= 2
    with Store.open(url) as store:
        assert len(store.results("s")) == 1


class _Unreadable(Location):
    """A location that no other process can unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("no location here",)


def test_workers_that_do_not_start_end_the_run(url: str, tmp_path: Path) -> None:
    put(url, cheap_job(1))
    with pytest.raises(ExecutionError, match=r"(?s)without having done anything.*no location here"):
        execute(url, "s", location=_Unreadable(str(tmp_path)), scratch=tmp_path)


def test_a_kind_that_cannot_be_imported_fails_its_jobs(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KINDS, "_things", {})
    for name, where in (("lost", "no_such_module:run"), ("cheap", "cheap_jobs:run_cheap")):
        register_kind(name, version=1, run=where)
    with Store.open(url) as store:
        store.put_study("s", {}, [(Job(kind="lost"), {}), (cheap_job(1), {})])
    counts = run(url, tmp_path, workers=1)
    assert (counts.done, counts.failed) == (1, 1)
    assert (
        "jobs of kind 'lost' need no_such_module:run, which cannot be imported"
        in failure(url).error
    )


def test_a_search_survives_kills_of_a_worker_and_of_the_coordinator(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_TRACE", str(tmp_path))
    with Store.open(url) as store:
        store.put_study(STUDY, {}, [])
        command = Command(url, STUDY, tmp_path)
        try:
            for done, kill in ((1, command.kill_worker), (5, command.kill_coordinator)):
                deadline = time.monotonic() + 60
                while store.counts(STUDY).done < done or not command.busy():
                    assert time.monotonic() < deadline, command.output()
                    time.sleep(0.01)
                assert kill()
            assert store.counts(STUDY).done < 13
            command.again()
            assert command.process.wait(60) == 0, command.output()
        finally:
            command.process.kill()
            command.process.wait()
        rows = store.results(STUDY)
        assert rows[-1].content["value"] == expected_value()
        assert [row.label["round"] for row in rows] == sorted([0, 1, 2] * 4 + [3])


def test_bad_arguments(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study 's'"):
        run(url, tmp_path)
    put(url, cheap_job(1))
    with pytest.raises(InvalidArgumentError, match="`workers` must be at least 1"):
        run(url, tmp_path, workers=0)
    with pytest.raises(InvalidArgumentError, match="unknown executor 'dask'; known are local, ray"):
        run(url, tmp_path, executor="dask")


def test_an_empty_study_is_finished_at_once(url: str, tmp_path: Path) -> None:
    put(url)
    assert run(url, tmp_path).total == 0


def test_names_tell_whether_a_worker_is_there(url: str) -> None:
    assert not is_dead(worker_name())
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = worker_name(process.pid)
    assert not is_dead(name)
    put(url, cheap_job(1), cheap_job(2))
    with Store.open(url) as store:
        for worker in (name, worker_name()):
            assert store.claim("s", worker, exclusive=False, lease_s=60)
        assert free_dead(store) == 0
        process.kill()
        deadline = time.monotonic() + 10
        while not is_dead(name):  # before it is waited for, as a zombie
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert free_dead(store, {name}) == 0
        assert free_dead(store) == 1
        assert store.running_workers() == (worker_name(),)
    process.communicate()
    host, number, _ = worker_name().rsplit(":", 2)
    assert is_dead(f"{host}:{number}:1")  # another process had that number
    assert not is_dead(f"elsewhere:{number}:1")
    assert int(number) == os.getpid()
