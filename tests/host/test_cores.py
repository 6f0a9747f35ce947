from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from squeezerl.errors import InvalidArgumentError
from squeezerl.host import cores
from squeezerl.host.cores import cores_for


def _machine(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, siblings: list[str], speeds: list[int | None]
) -> None:
    """Logical cores with their siblings and their highest clock rates, in kHz."""
    for core, (shared, speed) in enumerate(zip(siblings, speeds, strict=True)):
        topology = root / f"cpu{core}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(shared + "\n")
        if speed is not None:
            (root / f"cpu{core}" / "cpufreq").mkdir()
            (root / f"cpu{core}" / "cpufreq" / "cpuinfo_max_freq").write_text(f"{speed}\n")
    monkeypatch.setattr(cores, "_CPUS", root)
    monkeypatch.setattr(cores, "_available", lambda: list(range(len(siblings))))


def test_the_last_core_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(tmp_path, monkeypatch, siblings=["0", "1", "2"], speeds=[None] * 3)
    assert cores_for(1) == [2]
    assert cores_for(3) == [2, 1, 0]


def test_threads_of_one_core_are_the_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(tmp_path, monkeypatch, siblings=["0-1", "0-1", "2-3", "2-3"], speeds=[None] * 4)
    assert cores_for(2) == [3, 1]
    assert cores_for(3) == [3, 1, 2]


def test_efficiency_cores_come_after_fast_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds: list[int | None] = [5_000_000, 5_000_000, 3_800_000, 3_800_000]
    _machine(tmp_path, monkeypatch, siblings=["0", "1", "2", "3"], speeds=speeds)
    assert cores_for(1) == [1]
    assert cores_for(3) == [1, 0, 3]


def test_more_threads_than_cores_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(tmp_path, monkeypatch, siblings=["0", "1"], speeds=[None, None])
    for threads in (0, 3, -1):
        with pytest.raises(InvalidArgumentError, match="`threads` must be 1 to 2"):
            cores_for(threads)


def test_systems_that_cannot_pin_are_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_available", lambda: None)
    assert cores_for(1) is None
    with pytest.raises(InvalidArgumentError):
        cores_for((os.cpu_count() or 1) + 1)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot pin")
def test_a_pinned_process_stays_there() -> None:
    core = cores_for(1)
    assert core is not None
    script = (
        "import os; from squeezerl.host.cores import pin;"
        f"pin(None); pin({core}); print(*os.sched_getaffinity(0))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(core[0])]
