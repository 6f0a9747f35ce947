from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from squeezerl.measurement.probe import Memory, memory_now

MIB = 2**20
linux_only = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").is_file(), reason="the system does not report the parts"
)


def _grown(before: Memory, after: Memory, part: str) -> float:
    start, end = before[part], after[part]
    assert start is not None
    assert end is not None
    return (end - start) / MIB


# In a process of its own: in this one, `uss_bytes` also changes when a test beside it maps, or no
# longer maps, the libraries that are loaded here.
ALLOCATE = """
import json, mmap
from squeezerl.measurement.probe import memory_now
before = memory_now()
held = bytearray(64 * 2**20)
held[:: mmap.PAGESIZE] = b"x" * len(held[:: mmap.PAGESIZE])
print(json.dumps([before, memory_now()]))
"""


@linux_only
def test_allocated_memory_is_anonymous() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True
    )
    before, after = json.loads(ended.stdout)
    for part in ("rss_bytes", "uss_bytes", "anonymous_bytes"):
        assert 60 < _grown(before, after, part) < 70, part


@linux_only
def test_memory_that_a_file_is_mapped_to_is_not_anonymous(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(32 * MIB))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = memory_now()
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        after = memory_now()
    assert _grown(before, after, "rss_bytes") > 30
    assert _grown(before, after, "anonymous_bytes") < 5


@linux_only
def test_reading_the_memory_imports_nothing() -> None:
    script = (
        "import sys; known = set(sys.modules); from squeezerl.measurement.probe import memory_now;"
        "memory_now(); print(*sorted(set(sys.modules) - known))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    packages = {name.partition(".")[0] for name in ended.stdout.split()}
    assert packages - {"squeezerl"} <= set(sys.stdlib_module_names)
    assert not packages & {"json", "pathlib", "dataclasses"}


def test_on_other_systems_psutil_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("squeezerl.measurement.probe._ROLLUP", "/nowhere")
    memory = memory_now()
    assert memory["anonymous_bytes"] is None
    assert memory["rss_bytes"] is not None
    assert memory["rss_bytes"] > MIB
