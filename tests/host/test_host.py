from __future__ import annotations

import dataclasses
import json
import os
import platform
from pathlib import Path

import numpy as np
import psutil
import pytest

from made_profiles import HOST
from squeezerl import __version__
from squeezerl.host import facts as host
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json

ELSEWHERE = {
    "cpu": "Another CPU",
    "cpu_flags": ("avx2",),
    "cores": 4,
    "memory_bytes": 2**34,
    "system": "Darwin arm64",
}
PASSING = {
    "load": 3.0,
    "libraries": {"numpy": "1.0"},
    "python": "3.13.0",
    "kernel": "6.12",
    "governor": "powersave",
    "cores_available": 1,
}
CPUINFO = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz
physical id\t: 0
flags\t\t: fpu sse2 avx avx2 fma sse4_2 {more}

processor\t: 1
model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz
physical id\t: 1
flags\t\t: fpu sse2 avx avx2 fma sse4_2 {more}

"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\nCPU implementer\t: 0x41\n"


def test_the_host_is_this_one() -> None:
    host = host_facts()
    assert host.cpu
    assert host.cores == os.cpu_count()
    assert host.python == platform.python_version()
    assert host.kernel == platform.release()
    assert host.system.startswith(platform.system())
    assert host.memory_bytes > 2**28
    assert 1 <= host.cores_available <= host.cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cannot pin processes")
def test_available_cores_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert host_facts().cores_available == 1
    finally:
        os.sched_setaffinity(0, before)
    assert host_facts().cores_available == len(before)


def test_libraries_are_the_installed_ones() -> None:
    libraries = host_facts().libraries
    assert libraries["squeezerl"] == __version__
    assert libraries["numpy"] == np.__version__
    assert libraries["psutil"] == psutil.__version__
    assert {"torch", "onnx", "onnxruntime", "gymnasium"} <= libraries.keys()


def test_facts_are_the_same_again_and_turn_into_json() -> None:
    first, second = (dataclasses.replace(host_facts(), load=None) for _ in range(2))
    assert first == second
    data = json.loads(json.dumps(to_json(host_facts())))
    assert data["cores"] == os.cpu_count()
    assert data["libraries"] == host_facts().libraries


def test_a_host_has_the_same_id_again() -> None:
    assert host_facts().id == host_facts().id
    assert len(HOST.id) == 8


@pytest.mark.parametrize("fact", PASSING)
def test_what_passes_does_not_change_the_id(fact: str) -> None:
    assert dataclasses.replace(HOST, **{fact: PASSING[fact]}).id == HOST.id


@pytest.mark.parametrize("fact", ELSEWHERE)
def test_another_machine_has_another_id(fact: str) -> None:
    assert dataclasses.replace(HOST, **{fact: ELSEWHERE[fact]}).id != HOST.id


def _with_cpuinfo(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")


@pytest.mark.parametrize("virtual", [True, False])
def test_a_virtual_machine_on_x86_says_so(
    virtual: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_cpuinfo(
        CPUINFO.format(more="hypervisor" if virtual else "avx512f"), tmp_path, monkeypatch
    )
    facts = host_facts()
    assert facts.cpu == "Intel(R) Xeon(R) CPU @ 2.20GHz"
    assert facts.virtual_machine is virtual
    assert facts.sockets == 2
    assert set(facts.cpu_flags) == {"sse4_2", "avx", "avx2", "fma"} | (
        set() if virtual else {"avx512f"}
    )


@pytest.mark.parametrize("text", [ARM, "", "no colon here\n\n\n"])
def test_what_a_system_does_not_tell_is_unknown(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_cpuinfo(text, tmp_path, monkeypatch)
    facts = host_facts()
    assert (facts.virtual_machine, facts.sockets) == (None, None)
    assert facts.cpu == (platform.processor() or platform.machine())
    assert facts.cpu_flags == (("asimd", "asimddp", "bf16") if text == ARM else ())


def test_a_system_without_these_files_is_described_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(host, "_GOVERNOR", tmp_path / "absent")
    monkeypatch.delattr(psutil, "getloadavg")
    facts = host_facts()
    assert (facts.governor, facts.load, facts.virtual_machine) == (None, None, None)


def test_the_governor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "governor").write_text("schedutil\n")
    monkeypatch.setattr(host, "_GOVERNOR", tmp_path / "governor")
    assert host_facts().governor == "schedutil"
