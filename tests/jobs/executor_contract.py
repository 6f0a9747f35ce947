"""What every executor must do; each has a test class that inherits this one."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from cheap_jobs import arrays_of, cheap_job
from cheap_search import ROUNDS, STUDY, TRACE, WIDTH, expected_value, plan_more

from squeezerl.errors import InvalidArgumentError
from squeezerl.jobs.execute import execute
from squeezerl.jobs.executors import EXECUTORS, Executor
from squeezerl.jobs.job import Counts, Job, Status
from squeezerl.jobs.kinds import KINDS
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.registry import PLUGINS_VARIABLE, load_plugin

PLUGIN = """\
from squeezerl.jobs.job import Outcome
from squeezerl.jobs.kinds import register_kind

register_kind("{name}", version=1, run="{name}:count")


def count(job, context):
    return Outcome(content={{"counted": list(range(job.params["to"]))}})
"""


class ExecutorContract:
    name: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _locks_of_its_own(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/store.db"

    def put(self, url: str, *jobs: Job, study: str = "s") -> None:
        with Store.open(url) as store:
            store.put_study(study, {}, [(job, {"n": job.params["number"]}) for job in jobs])

    def run(self, url: str, folder: Path, *, study: str = "s", **how: Any) -> Counts:
        how = {"workers": 2, "scratch": folder / "scratch", "executor": self.name, **how}
        return execute(url, study, location=Location(str(folder / "artifacts")), **how)

    def test_it_is_registered(self) -> None:
        assert self.name in EXECUTORS.names
        assert issubclass(EXECUTORS.get(self.name), Executor)
        assert EXECUTORS.get(self.name).threads_per_job(1) >= 1
        with pytest.raises(InvalidArgumentError, match=f"unknown executor 'dask'.*{self.name}"):
            EXECUTORS.get("dask")

    def test_what_fails_is_recorded_and_the_rest_is_done(self, url: str, tmp_path: Path) -> None:
        base = [cheap_job(n, trace=tmp_path) for n in range(10)]
        top = cheap_job(100, tuple(base), exclusive=True, trace=tmp_path)
        bug, deadly = cheap_job(200, fault="bug"), cheap_job(201, fault="die")
        self.put(url, top, *base, bug, cheap_job(202, (bug,)), deadly)
        seen: list[Status] = []

        counts = self.run(url, tmp_path, on_progress=seen.append)

        assert counts == Counts(pending=0, running=0, done=11, failed=2, blocked=1)
        assert seen[-1].counts == counts
        with Store.open(url) as store:
            assert store.result(top.id).content == {"value": 145}
            for row in store.results("s"):
                np.testing.assert_array_equal(row.arrays["file"], arrays_of(row.job)["file"])
            failures = {failure.job.id: failure for failure in store.failures("s")}
        assert "ZeroDivisionError: a bug" in failures[bug.id].error
        assert failures[bug.id].attempts == 1
        assert "its worker ended" in failures[deadly.id].error
        assert failures[deadly.id].attempts == 3

    def test_a_plugin_can_register_a_kind(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(PLUGINS_VARIABLE, "")
        plugin = tmp_path / f"plugin_for_{self.name}.py"
        plugin.write_text(PLUGIN.format(name=plugin.stem), encoding="utf-8")
        load_plugin(plugin)
        job = KINDS.get(plugin.stem).job({"to": 3})
        with Store.open(url) as store:
            store.put_study("s", {}, [(job, {})])

            assert self.run(url, tmp_path, workers=1).done == 1
            assert store.result(job.id).content == {"counted": [0, 1, 2]}

    def test_it_stops_when_asked_to_and_goes_on_later(self, url: str, tmp_path: Path) -> None:
        endless = cheap_job(1, fault="until-stopped", estimate_s=9.0)
        self.put(url, endless, *(cheap_job(n, seconds=0.2) for n in range(2, 40)))
        stop = threading.Event()

        def look(status: Status) -> None:
            if status.counts.done >= 2 and any(
                running.job == endless.id for running in status.running
            ):
                stop.set()

        counts = self.run(url, tmp_path, on_progress=look, should_stop=stop.is_set)

        assert counts.running == counts.failed == 0
        assert counts.pending > 20
        with Store.open(url) as store:
            claims = [store.claim("s", "w", exclusive=False, lease_s=60) for _ in range(40)]
            taken = {claim.job.id: claim for claim in claims if claim is not None}
        assert taken[endless.id].failures == 0

    def test_a_planner_adds_jobs_while_the_same_workers_go_on(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(TRACE, str(tmp_path))
        self.put(url, study=STUDY)

        counts = self.run(url, tmp_path, study=STUDY, plan_more=plan_more)

        jobs = ROUNDS * WIDTH + 1
        assert (counts.done, counts.total) == (jobs, jobs)
        with Store.open(url) as store:
            last = store.results(STUDY)[-1]
        assert last.label == {"round": ROUNDS}
        assert last.content["value"] == expected_value()
        lines = (tmp_path / "trace.jsonl").read_text(encoding="utf-8").splitlines()
        assert len({json.loads(line)["pid"] for line in lines}) <= 2
        again = self.run(url, tmp_path, study=STUDY, plan_more=plan_more, workers=1)
        assert again == counts
