"""`squeezerl study` as its users run it."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, environment, invoke, run, the_object

from promised_keys import lost_keys
from squeezerl.cli.study_text import duration, job_name, seconds_left
from squeezerl.jobs.job import Counts, RunningJob, Status, Workload

pytestmark = pytest.mark.slow

SMALL = """\
name: small
agents: [{path: ppo.zip, env: Pendulum-v1}]
methods: [ptdq, l2: {percent: [25]}]
episodes: 2
"""
FAILING = SMALL.replace("ptdq", "ptdq: {keep: [layer9]}")
LONG = """\
name: long
agents:
  - train: {algorithms: ppo, environments: Pendulum-v1, steps: 1e7, evaluations: 1}
"""


@pytest.fixture
def here(tmp_path: Path, small_agent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with an agent and studies; locks of the host are this test's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(small_agent, tmp_path / "ppo.zip")
    (tmp_path / "tmp").mkdir()
    for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "tmp"))
    for name, text in (("small", SMALL), ("failing", FAILING), ("long", LONG)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_from_the_plan_to_the_report(here: Path) -> None:
    dry = invoke("study", "run", "small.yaml", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.stderr
    plan = the_object(dry.stdout)
    assert lost_keys("study plan", plan) == set()
    assert {kind["kind"]: kind["jobs"] for kind in plan["kinds"]} == {"compress": 3, "evaluate": 5}
    assert not (here / "small.db").exists()

    done = run("study", "run", "small.yaml", "--workers", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert the_object(done.stdout)["jobs"]["done"] == 8

    again = invoke("study", "run", "small.yaml")
    assert again.exit_code == 0
    assert "8 of 8 jobs done" in again.stdout

    status = invoke("study", "status", "small")
    assert status.exit_code == 0
    assert "evaluate" in status.stdout

    table = invoke("study", "results", "small", "--csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [row["method"] for row in rows] == ["float", "l2", "ptdq"]
    assert rows[1]["ratio"] == "0.25"
    results = the_object(invoke("study", "results", "small.yaml", "--json").stdout)
    assert lost_keys("study results", results) == set()
    cells = results["cells"]
    assert [cell["method"] for cell in cells] == ["float", "l2", "ptdq"]
    assert "retention" in invoke("study", "results", "small").stdout

    report = invoke("study", "report", "small", "-o", "out")
    assert report.exit_code == 0, report.stderr
    assert (here / "out" / "report.md").is_file()
    assert invoke("study", "report", "small", "-o", "out").exit_code == 2
    assert invoke("study", "report", "small", "-o", "out", "--force").exit_code == 0


def test_failed_jobs_are_listed_and_the_exit_code_is_1(here: Path) -> None:
    done = invoke("study", "run", "failing.yaml", "--workers", "1")

    assert done.exit_code == 1
    assert "failed: compress ppo-Pendulum-v1 ptdq-keep-layer9: " in done.stdout
    assert "layer9" in done.stdout
    assert "6 of 8 jobs done, 1 failed, 1 need a job that failed" in done.stdout
    assert "Traceback (" not in done.stdout + done.stderr
    assert "study status failing.yaml --errors" in done.stdout
    status = invoke("study", "status", "failing.yaml", "--store", "sqlite:///small.db", "--errors")
    assert "Traceback (most recent call last)" in status.stdout
    data = the_object(invoke("study", "status", "small", "--json").stdout)
    assert lost_keys("study status", data) == set()
    again = invoke("study", "run", "failing.yaml", "--workers", "1", "--json")
    assert lost_keys("study run", the_object(again.stdout)) == set()
    assert (data["jobs"]["failed"], data["jobs"]["blocked"]) == (1, 1)
    assert len(data["failures"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nothing.yaml"), "cannot be read"),
        (
            ("run", "small.yaml", "--executor", "slurm"),
            "unknown executor 'slurm'; known are local, ray",
        ),
        (("run", "small.yaml", "--address", "auto"), "--address is for --executor ray"),
        (("run", "small.yaml", "--workers", "0"), "--workers must be 1"),
        (("run", "small.yaml", "--store", "mysql://me:secret@x/y"), "is not supported"),
        (("status", "small"), "no such store"),
        (("results", "small", "--csv", "--json"), "choose --csv or --json"),
        (("report", "small", "-o", "out"), "no such store"),
    ],
)
def test_bad_input_ends_with_a_message(here: Path, arguments: tuple[str, ...], says: str) -> None:
    before = sorted(here.iterdir())
    done = invoke("study", *arguments)

    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout == ""
    assert sorted(here.iterdir()) == before


def test_a_mistake_in_the_file_is_named_with_its_line(here: Path) -> None:
    (here / "bad.yaml").write_text(SMALL.replace("episodes", "episode"), encoding="utf-8")

    done = invoke("study", "run", "bad.yaml")

    assert done.exit_code == 2
    assert "bad.yaml:4: unknown key 'episode'" in done.stderr
    assert "did you mean episodes?" in done.stderr


def test_an_interrupted_study_goes_on(here: Path) -> None:
    with subprocess.Popen(
        [COMMAND, "study", "run", "long.yaml", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        process_group=0,
    ) as process:
        try:
            wait_for(lambda: list(here.glob("tmp/**/agent/0.monitor.csv")), process)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    assert process.returncode == 130, err
    assert "stopping" in err
    assert "0 of 5 jobs done" in out
    assert list(here.glob("tmp/**/checkpoints/*"))
    status: dict[str, Any] = the_object(invoke("study", "status", "long", "--json").stdout)
    assert (status["jobs"]["pending"], status["jobs"]["running"]) == (5, 0)


def wait_for(there: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_jobs_have_names_that_people_read() -> None:
    label = {"agent": "ppo-Hopper-v4", "train_seed": 3, "method": "l2", "ratio": 0.3}
    assert job_name("evaluate", label) == "evaluate ppo-Hopper-v4/3 l2-30"
    label = {"agent": "", "env_id": "Hopper-v4", "train_seed": None, "method": "random"}
    assert job_name("evaluate", label) == "evaluate Hopper-v4 random"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (99, "99 s"), (150, "2 min"), (7500, "2 h 05 min"), (86_400 * 112, "112 days")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def workload(kind: str, state: str, jobs: int, estimate_s: float, seconds: float) -> Workload:
    return Workload(
        kind=kind,
        exclusive=kind == "profile",
        state=state,
        jobs=jobs,
        estimated=jobs,
        estimate_s=estimate_s,
        seconds=seconds,
    )


def test_time_left_learns_from_what_jobs_took() -> None:
    running = RunningJob(
        job="a",
        kind="evaluate",
        label={},
        worker="me",
        seconds=5,
        progress=0.5,
        estimate_s=10,
    )
    status = Status(
        counts=Counts(pending=3, running=1, done=2, failed=0, blocked=0),
        running=(running,),
        workloads=(
            workload("evaluate", "done", 2, 20, 40),
            workload("evaluate", "running", 1, 10, 0),
            workload("evaluate", "pending", 2, 20, 0),
            workload("profile", "pending", 1, 30, 0),
        ),
    )

    # Evaluations take twice as long as was thought: 60 s less the 10 that are done, for two; and
    # 30 for the measurement, alone.
    assert seconds_left(status, 2) == pytest.approx(30 + 50 / 2)
