from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postgresql_server import PostgreSQLServer
from squeezerl.errors import StoreError
from squeezerl.jobs.job import Claim, Counts, Job, Outcome
from squeezerl.jobs.store import Store

pytestmark = pytest.mark.slow

HOST = {"id": "host-a", "cores": 2}
LEASE_S = 60.0


def job(number: int, *needs: Job, **hints: Any) -> Job:
    ids = tuple(need.id for need in needs)
    return Job(kind="cheap", params={"number": number}, needs=ids, **hints)


def labelled(*jobs: Job) -> list[tuple[Job, dict[str, Any]]]:
    return [(one, {"n": one.params["number"]}) for one in jobs]


def outcome(value: float) -> Outcome:
    return Outcome(
        content={"value": value, "unknown": None},
        arrays={"file": np.arange(3.0), "lengths": np.ones((2, 2), np.int64)},
    )


def counts(**states: int) -> Counts:
    names = ("pending", "running", "done", "failed", "blocked")
    return Counts(**{name: states.get(name, 0) for name in names})


def do(store: Store, value: float = 1.0, *, worker: str = "w", study: str = "s") -> Claim | None:
    claim = take(store, worker=worker, study=study)
    if claim is not None:
        assert store.finish(claim, outcome(value), HOST, 0.5)
    return claim


def take(
    store: Store,
    *,
    worker: str = "w",
    study: str = "s",
    exclusive: bool = False,
    lease_s: float = LEASE_S,
) -> Claim | None:
    return store.claim(study, worker, exclusive=exclusive, lease_s=lease_s)


def take_one(store: Store, **how: Any) -> Claim:
    claim = take(store, **how)
    assert claim is not None
    return claim


class StoreContract:
    """What a store must do in every database; each has a class that inherits this one."""

    @pytest.fixture
    def store(self, store_url: str) -> Iterator[Store]:
        with Store.open(store_url) as opened:
            yield opened

    def test_a_result_comes_back_as_it_was(self, store: Store) -> None:
        one = job(1, estimate_s=3.0)
        store.put_study("s", {"a": [1, None]}, labelled(one))
        claim = do(store, 2.5)
        assert claim is not None
        assert (claim.job, claim.job.id, claim.attempts) == (one, one.id, 1)
        result = store.result(one.id)
        assert result.content == {"value": 2.5, "unknown": None}
        assert (result.host_id, result.seconds) == ("host-a", 0.5)
        for name, values in outcome(0).arrays.items():
            np.testing.assert_array_equal(result.arrays[name], values)
            assert result.arrays[name].dtype == values.dtype
        (row,) = store.results("s")
        assert (row.job, row.label, row.content) == (one, {"n": 1}, result.content)
        assert set(row.arrays) == {"file", "lengths"}
        assert store.results("s", arrays=False)[0].arrays == {}
        assert store.job(one.id) == one
        assert store.hosts() == {"host-a": HOST}
        assert store.study_names() == ("s",)
        study = store.study("s")
        assert (study.name, study.spec) == ("s", {"a": [1, None]})
        assert abs(study.created_s - time.time()) < 60

    def test_a_study_can_be_put_again_while_it_is_worked_on(self, store_url: str) -> None:
        jobs = [job(n) for n in range(40)]
        jobs += [job(100 + n, *jobs[n : n + 3]) for n in range(30)]

        def work() -> None:
            with Store.open(store_url, patience_s=5) as store:
                while do(store) or store.counts("s").open:
                    pass

        with Store.open(store_url, patience_s=5) as store:
            store.put_study("s", {}, labelled(*jobs))
            workers = [threading.Thread(target=work) for _ in range(3)]
            for worker in workers:
                worker.start()
            for put in range(20):
                hinted = [replace(one, estimate_s=float(put + i)) for i, one in enumerate(jobs)]
                store.put_study("s", {}, labelled(*hinted))
            for worker in workers:
                worker.join()

            assert store.counts("s") == counts(done=70)

    def test_a_reopened_job_is_repeated_before_the_jobs_that_need_it(self, store: Store) -> None:
        one, two = job(1), job(2)
        three = job(3, one, two)
        store.put_study("s", {}, labelled(one, two, three))
        first, second = take_one(store), take_one(store)
        for claim in (first, second):
            assert store.finish(claim, outcome(1.0), HOST, 0.5)
        assert set(store.still_needed("s")) == {one.id, two.id}

        store.reopen([first.job.id])

        assert store.counts("s") == counts(pending=2, done=1)
        assert set(store.still_needed("s")) == {second.job.id}
        with pytest.raises(StoreError, match="no result"):
            store.result(first.job.id)
        assert not store.finish(first, outcome(9.0), HOST, 0.5)
        again = do(store, 2.0)
        assert again is not None
        assert again.job.id == first.job.id
        assert store.result(again.job.id).content["value"] == 2.0
        last = do(store)
        assert last is not None
        assert last.job.id == three.id

    def test_a_job_waits_for_what_it_needs(self, store: Store) -> None:
        first, second = job(1), job(2)
        third = job(3, first, second)
        store.put_study("s", {}, labelled(third, second, first))
        claims = [take_one(store), take_one(store)]
        assert {claim.job.id for claim in claims} == {first.id, second.id}
        assert take(store) is None
        assert store.finish(claims[0], outcome(1), HOST, 1.0)
        assert take(store) is None
        assert store.finish(claims[1], outcome(1), HOST, 1.0)
        assert take_one(store).job == third

    def test_the_longest_goes_first_and_exclusive_ones_only_when_asked_for(
        self, store: Store
    ) -> None:
        jobs = [job(n, estimate_s=s) for n, s in ((1, 1.0), (2, 9.0), (3, None), (4, 5.0))]
        alone = job(5, exclusive=True)
        store.put_study("s", {}, labelled(*jobs, alone))
        order = [take_one(store).job.params["number"] for _ in range(4)]
        assert order == [2, 4, 1, 3]
        assert take(store) is None
        assert take_one(store, exclusive=True).job == alone

    def test_done_for_one_study_is_done_for_all(self, store: Store) -> None:
        shared, own = job(1), job(2)
        waits = job(3, shared)
        store.put_study("s", {}, labelled(shared))
        do(store)
        store.put_study("t", {}, labelled(shared, own, waits))
        assert store.counts("t") == counts(pending=2, done=1)
        assert {do(store, study="t").job.id for _ in range(2)} == {own.id, waits.id}
        assert store.counts("s") == counts(done=1)

    def test_a_job_of_two_studies_is_taken_once(self, store: Store) -> None:
        for name in ("s", "t"):
            store.put_study(name, {}, labelled(job(1)))
        claim = take_one(store)
        assert take(store, study="t") is None
        assert store.counts("t") == counts(running=1)
        store.give_back(claim)
        assert take_one(store, study="t").job == claim.job

    def test_a_study_is_put_again(self, store: Store) -> None:
        jobs = [job(n) for n in range(3)]
        store.put_study("s", {"v": 1}, labelled(*jobs))
        do(store)
        store.put_study("s", {"v": 1}, labelled(*jobs))
        assert store.counts("s") == counts(pending=2, done=1)
        store.put_study("s", {"v": 2}, labelled(*jobs, job(9, jobs[0])))
        assert store.counts("s") == counts(pending=3, done=1)
        assert store.study("s").spec == {"v": 2}
        left = [one for one, _ in labelled(*jobs)[:1]]
        store.put_study("s", {"v": 3}, labelled(*left))
        assert store.counts("s").total == 1
        store.put_study("s", {}, [])
        assert store.counts("s") == counts()
        assert take(store) is None

    def test_estimates_and_exclusiveness_are_renewed(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1), job(2)))
        store.put_study("s", {}, labelled(job(1, exclusive=True), job(2, estimate_s=5.0)))
        assert take_one(store).job == job(2, estimate_s=5.0)
        assert take(store) is None
        assert take_one(store, exclusive=True).job == job(1, exclusive=True)

    def test_a_job_with_two_labels_counts_once(self, store: Store) -> None:
        one = job(1)
        store.put_study("s", {}, [(one, {"a": 1}), (one, {"a": 2})])
        assert store.counts("s") == counts(pending=1)
        do(store)
        assert [row.label for row in store.results("s")] == [{"a": 1}, {"a": 2}]

    def test_jobs_are_added_to_a_study_while_it_is_worked_on(self, store: Store) -> None:
        first, second, third = job(1), job(2), job(3, job(1))
        store.put_study("s", {"a": 1}, labelled(first))
        claim = take_one(store)
        store.add_jobs("s", labelled(third, second, first))
        store.add_jobs("s", [*labelled(second), (first, {"n": "again"})])
        assert store.counts("s") == counts(pending=2, running=1)
        assert take_one(store).job == second
        assert take(store) is None
        assert store.finish(claim, outcome(1), HOST, 1.0)
        assert take_one(store).job == third
        assert [row.label["n"] for row in store.results("s")] == [1, "again"]
        assert store.study("s").spec == {"a": 1}
        with pytest.raises(StoreError, match="not in the study"):
            store.add_jobs("s", labelled(job(9, job(8))))
        with pytest.raises(StoreError, match="there is no study 't'"):
            store.add_jobs("t", [])
        store.put_study("s", {"a": 1}, labelled(first))
        assert store.counts("s") == counts(done=1)

    def test_jobs_that_are_done_for_another_study_can_be_added(self, store: Store) -> None:
        store.put_study("t", {}, labelled(job(1)))
        do(store, study="t")
        store.put_study("s", {}, [])
        store.add_jobs("s", labelled(job(1), job(2, job(1))))
        assert store.counts("s") == counts(pending=1, done=1)
        assert take_one(store).job == job(2, job(1))

    def test_failures_block_what_needs_them(self, store: Store) -> None:
        bad, good = job(1, estimate_s=9.0), job(2)
        needs = job(3, bad, good)
        needs_it = job(4, needs)
        store.put_study("s", {}, labelled(bad, good, needs, needs_it))
        claim = take_one(store)
        assert store.fail(claim, "Traceback\0 \udcff", retry=False)
        do(store)
        assert store.counts("s") == counts(done=1, failed=1, blocked=2)
        assert store.counts("s").open == 0
        (failure,) = store.failures("s")
        assert (failure.job, failure.label, failure.attempts) == (bad, {"n": 1}, 1)
        assert failure.error.startswith("Traceback")
        assert not failure.transient
        assert store.retry_failed("s", transient_only=True) == 0
        assert store.retry_failed("s") == 1
        for _ in range(3):
            assert do(store) is not None
        assert store.counts("s") == counts(done=4)

    def test_a_transient_failure_is_tried_three_times(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1)))
        for attempt in range(3):
            claim = take_one(store)
            assert (claim.failures, claim.attempts) == (attempt, attempt + 1)
            assert store.fail(claim, "away", retry=True)
        assert store.counts("s") == counts(failed=1)
        assert store.failures("s")[0].transient
        assert store.retry_failed("s", transient_only=True) == 1
        assert take_one(store).failures == 0

    def test_a_worker_that_lost_its_lease_cannot_write(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1)))
        lost = take_one(store, worker="a", lease_s=-1.0)
        assert store.release_expired() == 1
        assert not store.heartbeat(lost, LEASE_S)
        assert not store.finish(lost, outcome(1), HOST, 1.0)
        claim = take_one(store, worker="b")
        assert not store.heartbeat(lost, LEASE_S)
        assert not store.finish(lost, outcome(1), HOST, 1.0)
        assert not store.fail(lost, "late", retry=False)
        assert not store.give_back(lost)
        assert store.results("s") == []
        assert store.finish(claim, outcome(2), HOST, 1.0)
        assert not store.finish(lost, outcome(1), HOST, 1.0)
        assert store.result(job(1).id).content["value"] == 2

    def test_heartbeats_hold_the_lease(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1)))
        claim = take_one(store, lease_s=-1.0)
        assert store.heartbeat(claim, LEASE_S, 0.25)
        assert store.release_expired() == 0
        (running,) = store.status("s").running
        assert (running.job, running.label, running.progress) == (claim.job.id, {"n": 1}, 0.25)
        assert running.worker == "w"
        assert 0 <= running.seconds < 60

    def test_jobs_of_a_worker_that_has_ended_are_freed(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1), job(2)))
        take_one(store, worker="a")
        other = take_one(store, worker="b")
        assert set(store.running_workers()) == {"a", "b"}
        assert store.release_worker("a") == 1
        assert store.running_workers() == ("b",)
        for _ in range(3):
            take_one(store, worker="a")
            assert store.release_worker("a", "killed") == 1
        assert store.failures("s")[0].error == "killed"
        assert store.finish(other, outcome(1), HOST, 1.0)
        assert store.counts("s") == counts(done=1, failed=1)

    def test_a_repeated_transaction_has_no_second_effect(self, store: Store) -> None:
        """A transaction is repeated if its commit was not confirmed."""
        store.put_study("s", {}, labelled(job(1), job(2), job(3, job(1))))
        claim = take_one(store)
        for _ in range(2):
            assert store.finish(claim, outcome(1), HOST, 1.0)
        claim = take_one(store)
        for _ in range(2):
            assert store.fail(claim, "away", retry=True)
        assert take_one(store).failures <= 1
        assert len(store.results("s")) == 1

    def test_sums_for_estimates(self, store: Store) -> None:
        store.put_study("s", {}, labelled(*(job(n, estimate_s=2.0) for n in range(3)), job(9)))
        do(store)
        sums = {load.state: load for load in store.status("s").workloads}
        done, pending = sums["done"], sums["pending"]
        assert (done.jobs, done.estimate_s, done.seconds) == (1, 2.0, 0.5)
        assert (pending.jobs, pending.estimated, pending.estimate_s) == (3, 2, 4.0)

    def test_results_of_some_kinds_in_order(self, store: Store) -> None:
        jobs = [job(n, estimate_s=n) for n in range(5)]
        other = Job(kind="other")
        store.put_study("s", {}, [*labelled(*jobs), (other, {})])
        while do(store):
            pass
        rows = store.results("s", ["cheap"])
        assert [row.label["n"] for row in rows] == list(range(5))
        assert [row.job.kind for row in store.results("s", ["other"])] == ["other"]
        assert store.results("s", []) == []

    def test_outcomes_that_are_not_plain_data_are_refused(self, store: Store) -> None:
        store.put_study("s", {}, labelled(job(1)))
        claim = take_one(store)
        for bad in (
            Outcome(content={"a": {1}}),
            Outcome(content={"a": float("nan")}),
            Outcome(content={}, arrays={"a": np.array([{}])}),
        ):
            with pytest.raises(StoreError):
                store.finish(claim, bad, HOST, 1.0)
        assert store.finish(claim, outcome(1), HOST, 1.0)

    def test_missing_things_are_errors(self, store: Store) -> None:
        with pytest.raises(StoreError, match="there is no study 'x' in the store; it has: none"):
            store.study("x")
        for ask in (store.status, store.results, store.failures):
            with pytest.raises(StoreError, match="no study 'x'"):
                ask("x")
        with pytest.raises(StoreError, match="no job"):
            store.job("x")
        with pytest.raises(StoreError, match="no result"):
            store.result("x")
        with pytest.raises(StoreError, match="not in the study"):
            store.put_study("s", {}, labelled(job(2, job(1))))
        assert store.study_names() == ()

    def test_workers_that_claim_at_once_get_different_jobs(
        self, store: Store, store_url: str
    ) -> None:
        jobs = [job(n) for n in range(60)]
        sums = [job(100 + n, *jobs[n : n + 4]) for n in range(20)]
        store.put_study("s", {}, labelled(*jobs, *sums))
        taken: list[str] = []

        def work(name: str) -> None:
            with Store.open(store_url) as own:
                while own.counts("s").open:
                    if claim := do(own, worker=name):
                        taken.append(claim.job.id)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(one.id for one in (*jobs, *sums))
        assert store.counts("s") == counts(done=80)

    def test_many_processes_open_an_empty_database(self, store_url: str) -> None:
        context = multiprocessing.get_context("spawn")
        with context.Pool(4) as pool:
            assert pool.map(open_and_list, [store_url] * 12, chunksize=1) == [()] * 12


class TestSQLite(StoreContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def store_url(self, postgresql_server: PostgreSQLServer) -> str:
        return postgresql_server.create_database()


def open_and_list(url: str) -> tuple[str, ...]:
    with Store.open(url) as store:
        return store.study_names()
