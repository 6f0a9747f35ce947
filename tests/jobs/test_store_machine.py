"""Claims against a model of them: what one process may do in any order."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from squeezerl.jobs.claims import ATTEMPTS
from squeezerl.jobs.job import Claim, Job, Outcome
from squeezerl.jobs.store import Store

pytestmark = pytest.mark.slow

LEASE_S = 60.0
WORKERS = st.sampled_from(["a", "b"])
# A small lattice: 0, 1 free; 2 needs both; 3 needs 2; 4 needs 1; 5 is exclusive and needs 0.
NEEDS: dict[int, tuple[int, ...]] = {0: (), 1: (), 2: (0, 1), 3: (2,), 4: (1,), 5: (0,)}


def make_jobs() -> list[Job]:
    jobs: list[Job] = []
    for number, needs in NEEDS.items():
        ids = tuple(jobs[need].id for need in needs)
        jobs.append(Job(kind="cheap", params={"n": number}, needs=ids, exclusive=number == 5))
    return jobs


JOBS = make_jobs()
NUMBERS = {job.id: number for number, job in enumerate(JOBS)}


class Claims(RuleBasedStateMachine):
    held: Any = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(f"sqlite:///{self.folder.name}/store.db")
        self.store.put_study("s", {}, [(job, {}) for job in JOBS])
        self.state = dict.fromkeys(NEEDS, "pending")
        self.failures = dict.fromkeys(NEEDS, 0)
        self.transient = dict.fromkeys(NEEDS, False)
        self.owner: dict[int, str] = {}  # token of who holds it
        self.worker: dict[int, str] = {}
        self.found: dict[int, int] = {}
        self.claims = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def ready(self, *, exclusive: bool) -> set[int]:
        return {
            number
            for number, needs in NEEDS.items()
            if self.state[number] == "pending"
            and all(self.state[need] == "done" for need in needs)
            and (number == 5) == exclusive
        }

    def holds(self, claim: Claim) -> bool:
        return self.owner.get(NUMBERS[claim.job.id]) == claim.token

    def free(self, number: int, state: str = "pending") -> None:
        self.state[number] = state
        del self.owner[number], self.worker[number]

    @rule(target=held, worker=WORKERS, exclusive=st.booleans())
    def claim(self, worker: str, exclusive: bool) -> Claim | None:
        claim = self.store.claim("s", worker, exclusive=exclusive, lease_s=LEASE_S)
        ready = self.ready(exclusive=exclusive)
        if claim is None:
            assert not ready
            return None
        number = NUMBERS[claim.job.id]
        assert number in ready
        assert claim.failures == self.failures[number]
        self.state[number], self.owner[number] = "running", claim.token
        self.worker[number] = worker
        return claim

    @rule(claim=held)
    def beat(self, claim: Claim | None) -> None:
        if claim is not None:
            assert self.store.heartbeat(claim, LEASE_S) == self.holds(claim)

    @rule(claim=consumes(held))
    def finish(self, claim: Claim | None) -> None:
        if claim is None:
            return
        self.claims += 1
        outcome = Outcome(content={"value": self.claims})
        held = self.holds(claim)
        assert self.store.finish(claim, outcome, {"id": "h"}, 1.0) == held
        if held:
            number = NUMBERS[claim.job.id]
            self.free(number, "done")
            self.found[number] = self.claims

    @rule(claim=consumes(held), retry=st.booleans())
    def fail(self, claim: Claim | None, retry: bool) -> None:
        if claim is None:
            return
        held = self.holds(claim)
        assert self.store.fail(claim, "error", retry=retry) == held
        if held:
            self.note_failure(NUMBERS[claim.job.id], retry=retry)

    def note_failure(self, number: int, *, retry: bool) -> None:
        self.failures[number] += 1
        self.transient[number] = retry
        again = retry and self.failures[number] < ATTEMPTS
        self.free(number, "pending" if again else "failed")

    @rule(claim=held)
    def give_back(self, claim: Claim | None) -> None:
        if claim is None:
            return
        held = self.holds(claim)
        assert self.store.give_back(claim) == held
        if held:
            self.free(NUMBERS[claim.job.id])

    @rule(worker=WORKERS, killed=st.booleans())
    def release(self, worker: str, killed: bool) -> None:
        numbers = [number for number, who in self.worker.items() if who == worker]
        assert self.store.release_worker(worker, "killed" if killed else None) == len(numbers)
        for number in numbers:
            if killed:
                self.note_failure(number, retry=True)
            else:
                self.free(number)

    @rule(transient_only=st.booleans())
    def retry(self, transient_only: bool) -> None:
        numbers = [
            number
            for number, state in self.state.items()
            if state == "failed" and (self.transient[number] or not transient_only)
        ]
        assert self.store.retry_failed("s", transient_only=transient_only) == len(numbers)
        for number in numbers:
            self.state[number], self.failures[number] = "pending", 0

    @rule(numbers=st.sets(st.integers(0, 5)))
    def reopen(self, numbers: set[int]) -> None:
        self.store.reopen([JOBS[number].id for number in numbers])
        again = {number for number in numbers if self.state[number] == "done"}
        for number, needs in NEEDS.items():  # in an order in which needs come first
            if again & set(needs):
                again.add(number)
        for number in again:
            self.state[number], self.failures[number] = "pending", 0
            self.owner.pop(number, None)
            self.worker.pop(number, None)
            self.found.pop(number, None)

    @rule(first=st.integers(0, 5))
    def put_again(self, first: int) -> None:
        order = [*JOBS[first:], *JOBS[:first]]
        self.store.put_study("s", {"first": first}, [(job, {}) for job in order])

    @invariant()
    def states_agree(self) -> None:
        counts = self.store.counts("s")
        blocked = {
            number
            for number in NEEDS
            if self.state[number] == "pending" and self.needs_failed(number)
        }
        states = list(self.state.values())
        assert counts.blocked == len(blocked)
        assert counts.pending == states.count("pending") - len(blocked)
        assert counts.running == states.count("running")
        assert counts.done == states.count("done")
        assert counts.failed == states.count("failed")
        results = {NUMBERS[row.job.id]: row.content["value"] for row in self.store.results("s")}
        assert results == self.found
        needed = {
            need
            for number, needs in NEEDS.items()
            for need in needs
            if self.is_to_do(number) and self.state[need] == "done"
        }
        found = self.store.still_needed("s")
        assert {NUMBERS[id_]: content["value"] for id_, content in found.items()} == {
            need: self.found[need] for need in needed
        }

    def is_to_do(self, number: int) -> bool:
        if self.state[number] == "failed":
            return self.transient[number]
        return self.state[number] != "done"

    def needs_failed(self, number: int) -> bool:
        return any(
            self.state[need] == "failed" or self.needs_failed(need) for need in NEEDS[number]
        )


TestClaims = Claims.TestCase
TestClaims.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
