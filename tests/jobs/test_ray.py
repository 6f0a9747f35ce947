"""Ray takes seconds to start, so the contract's tests share one, and few others start their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from cheap_jobs import cheap_job
from crash_study import Command, check
from executor_contract import ExecutorContract

from squeezerl.jobs.executors import ray as ray_executor
from squeezerl.jobs.store import Store

pytestmark = pytest.mark.slow

PATIENCE_S = 120
# Ray would start workers before anybody asks for them, and report to its makers.
LEAN = {"RAY_prestart_worker_first_driver": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(autouse=True)
def _folder_of_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short one, for the paths of its sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        for variable, value in {"RAY_TMPDIR": name, **LEAN}.items():
            monkeypatch.setenv(variable, value)
        yield


class TestRay(ExecutorContract):
    name = "ray"

    @pytest.fixture(scope="class", autouse=True)
    def _cluster(self) -> Iterator[None]:
        """One that the executor finds connected; the tests below let it start its own."""
        ray = pytest.importorskip("ray")
        with tempfile.TemporaryDirectory(
            prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
        ) as t:
            with pytest.MonkeyPatch.context() as patch:
                for variable, value in {"RAY_TMPDIR": t, **LEAN}.items():
                    patch.setenv(variable, value)
                ray.init(
                    address="local",
                    num_cpus=2,
                    log_to_driver=False,
                    include_dashboard=False,
                    runtime_env={
                        "env_vars": {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": t}
                    },
                )
            yield
            ray.shutdown()

    def test_it_warns_of_workers_that_no_host_has_room_for(
        self,
        url: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(ray_executor, "WAIT_S", 0.2)
        self.put(url, *(cheap_job(n, seconds=0.5) for n in range(6)))
        assert self.run(url, tmp_path, workers=3).done == 6
        assert "1 of 3 workers wait for a place in the Ray cluster, which has 2 CPUs" in caplog.text


def _descendants(command: Command, name: str) -> list[psutil.Process]:
    """Processes of the command's own Ray."""
    try:
        below = psutil.Process(command.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for process in below:
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _workers(command: Command) -> list[psutil.Process]:
    return _descendants(command, "RayWorker")


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _wait(command: Command, store: Store, done: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while store.counts("s").done < done or not store.counts("s").running:
        assert time.monotonic() < deadline, command.output()
        assert command.process.poll() is None, command.output()
        time.sleep(0.05)


def test_a_worker_then_the_driver_then_the_rest_of_ray_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    url = f"sqlite:///{tmp_path}/store.db"
    base = [cheap_job(n, trace=tmp_path, seconds=0.2) for n in range(60)]
    top = [
        cheap_job(200 + n, tuple(base[n : n + 3]), trace=tmp_path, exclusive=n < 3)
        for n in range(10)
    ]
    jobs = [*base, *top]
    with Store.open(url) as store:
        store.put_study("s", {}, [(job, {}) for job in jobs])
        command = Command(url, "s", tmp_path, "ray")
        everything: list[psutil.Process] = []
        try:
            _wait(command, store, 3)
            worker = _workers(command)[0]
            before = time.monotonic()
            worker.kill()
            command.note_kill(before, worker.pid)
            _wait(command, store, 12)

            # Workers end with their driver, and the rest of Ray is killed.
            everything = psutil.Process(command.process.pid).children(recursive=True)
            workers = _workers(command)
            assert workers
            before = time.monotonic()
            command.process.kill()
            command.process.wait()
            assert not psutil.wait_procs(workers, timeout=30)[1]
            _kill(everything)
            command.note_kill(before, None)
            assert store.counts("s").done < len(jobs)

            started = time.monotonic()
            command.again()
            assert command.process.wait(PATIENCE_S) == 0, command.output()
            assert time.monotonic() - started < 55, "it waited for leases"
        finally:
            _kill([*everything, *_descendants(command, "")])
            command.process.kill()
            command.process.wait()
    assert check(url, "s", tmp_path, jobs, command) >= 1


def test_an_unreachable_cluster_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url) as store:
        store.put_study("s", {}, [(cheap_job(1), {})])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from squeezerl.errors import ExecutionError\n"
        "from squeezerl.jobs.execute import execute\n"
        "from squeezerl.jobs.location import Location\n"
        "for address in ('nowhere', '127.0.0.1:1', 'ray://127.0.0.1:1', 'auto'):\n"
        "    try:\n"
        "        execute(sys.argv[1], 's', location=Location(sys.argv[2]), executor='ray',\n"
        "                address=address)\n"
        "    except ExecutionError as error:\n        print(error)"
    )
    # "auto" takes this address, and does not find the cluster of a test beside this one.
    environment = {**os.environ, "TMPDIR": str(tmp_path), "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code, url, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        env=environment,
    )
    first, *others = done.stdout.splitlines()
    assert "no Ray cluster at nowhere" in first, done.stderr
    assert len(others) == 3
    assert all("127.0.0.1:1: [Errno 111] Connection refused" in line for line in others)
