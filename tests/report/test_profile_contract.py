from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from balancing import SOURCE
from made_profiles import (
    HOST,
    METER,
    SIZE,
    STAGES,
    make_process,
    make_profile,
    make_row,
    make_window,
)
from squeezerl.measurement.result import Meter, ProcessRecord
from squeezerl.records import to_json
from squeezerl.report.profile_contract import beside, profile_json

ROW = {
    "artifact", "runtime", "threads", "batch", "host_id", "agent_sha256", "env_id", "observations",
    "file_bytes", "gzip_bytes", "weight_bytes", "weight_bytes_by_dtype", "parameters", "macs",
    "latency_s", "decisions_per_second", "startup_s", "memory_bytes", "gpu_memory_bytes",
    "energy_j_per_decision", "energy_source", "energy_estimated", "cpu_s_per_decision",
    "episodes", "episodes_problem", "reference_ratio", "problem",
}  # fmt: skip
LATENCY = {
    "median", "ci95", "p90", "p99", "max", "jitter", "stable", "unstable_because",
    "undisturbed_share", "samples", "processes",
}  # fmt: skip
MEMORY = {"interpreter", "runtime", "model", "total", "working_peak", "stages"}
RATIOS = {"file_bytes", "weight_bytes", "macs", "latency", "memory_total", "energy"}


def _strict(data: dict[str, Any]) -> dict[str, Any]:
    """The same, if it is JSON that every reader takes."""
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    return data


def _six(**figures: Any) -> list[ProcessRecord]:
    return [make_process(number, **figures) for number in range(6)]


def _row(*rows: Any, index: int = -1, **settings: Any) -> dict[str, Any]:
    return _strict(profile_json(make_profile(*rows, **settings)))["rows"][index]


def test_a_profile_has_the_promised_keys() -> None:
    data = _strict(profile_json(make_profile(make_row("float"), make_row("ptdq"))))
    assert data.keys() >= {"host", "rows", "seconds", "precision", "seed", "energy_problem"}
    assert data["host"] == to_json(HOST) | {"id": HOST.id}
    assert len(data["rows"]) == 2
    for row in data["rows"]:
        assert row.keys() == ROW
        assert row["latency_s"].keys() >= LATENCY
        assert row["memory_bytes"].keys() >= MEMORY
        assert row["reference_ratio"].keys() == RATIOS
        assert row["startup_s"].keys() == {"import", "load", "first_action"}
    assert [row["artifact"] for row in data["rows"]] == ["float", "ptdq"]
    assert data["rows"][0]["agent_sha256"] == SOURCE.sha256


def test_a_row_says_what_its_processes_measured() -> None:
    row = _row(make_row(), batch=4)
    latency = row["latency_s"]
    assert (latency["median"], latency["ci95"]) == (pytest.approx(20e-6), [20e-6, 20e-6])
    assert latency["p90"] == latency["p99"] == latency["max"] == pytest.approx(20e-6)
    assert latency["jitter"] == pytest.approx(0)
    assert (latency["stable"], latency["unstable_because"]) == (True, None)
    assert (latency["samples"], latency["processes"]) == (600, 6)
    assert row["decisions_per_second"] == pytest.approx(4 / 20e-6)
    assert (row["batch"], row["threads"], row["runtime"]) == (4, 1, "ort")
    assert row["startup_s"] == {"import": 0.1, "load": 0.02, "first_action": 0.003}
    memory = row["memory_bytes"]
    assert memory["interpreter"] + memory["runtime"] + memory["model"] == memory["total"] == 58
    assert memory["working_peak"] == 256
    assert len(memory["stages"]) == 6
    assert tuple(memory["stages"][0]) == STAGES
    assert row["cpu_s_per_decision"]["mean"] == pytest.approx(1e-5)
    assert row["file_bytes"] == SIZE.file_bytes
    assert sum(row["weight_bytes_by_dtype"].values()) == row["weight_bytes"]
    assert row["observations"]["count"] == 4096
    assert (row["episodes"], row["episodes_problem"], row["problem"]) == (None, None, None)


def test_without_a_meter_joules_are_null_and_never_zero() -> None:
    reason = "no sensor, and a virtual machine"
    data = _strict(profile_json(make_profile(make_row(), meter_problem=reason)))
    assert data["energy_problem"] == reason
    (row,) = data["rows"]
    for key in ("energy_j_per_decision", "energy_source", "energy_estimated"):
        assert row[key] is None
    assert row["reference_ratio"]["energy"] is None
    assert row["cpu_s_per_decision"] is not None


@pytest.mark.parametrize("estimated", [True, False])
def test_joules_say_where_they_are_from(estimated: bool) -> None:
    meter = Meter(source="a source", estimated=estimated)
    row = _row(make_row(processes=_six(joules=0.5, meter=meter)))
    energy = row["energy_j_per_decision"]
    assert energy.keys() == {"mean", "ci95"}
    assert energy["mean"] == pytest.approx(0.005)
    assert energy["ci95"] == pytest.approx([0.005, 0.005])
    assert (row["energy_source"], row["energy_estimated"]) == ("a source", estimated)


def test_ratios_are_times_less_than_the_reference() -> None:
    half = dataclasses.replace(SIZE, file_bytes=1000, weight_bytes=900, macs=250)
    row = _row(
        make_row("float", _six(joules=2.0)),
        make_row("small", _six(usual_ns=10_000, joules=0.5), size=half),
    )
    ratio = row["reference_ratio"]
    assert (ratio["file_bytes"], ratio["weight_bytes"], ratio["macs"]) == (4.0, 4.0, 4.0)
    assert ratio["latency"] == {"median": 2.0, "ci95": [2.0, 2.0]}
    assert ratio["energy"] == {"median": 4.0, "ci95": [4.0, 4.0]}
    assert ratio["memory_total"] == 1.0


def test_the_reference_is_one_to_itself() -> None:
    ratio = _row(make_row(processes=_six(joules=1.0)))["reference_ratio"]
    assert ratio["latency"] == ratio["energy"] == {"median": 1.0, "ci95": [1.0, 1.0]}
    assert ratio["file_bytes"] == ratio["macs"] == ratio["memory_total"] == 1.0


def test_a_row_that_was_not_measured_has_its_size_and_a_reason() -> None:
    row = _row(make_row("float"), make_row("ptdq", runtime="torch", problem="int8 runs in ort"))
    assert row.keys() == ROW
    assert row["problem"] == "int8 runs in ort"
    assert row["file_bytes"] == SIZE.file_bytes
    for key in ("latency_s", "memory_bytes", "energy_j_per_decision", "decisions_per_second"):
        assert row[key] is None
    ratio = row["reference_ratio"]
    assert ratio["file_bytes"] == 1.0
    assert (ratio["latency"], ratio["memory_total"], ratio["energy"]) == (None, None, None)


def test_the_first_measured_row_is_the_reference() -> None:
    rows = (
        make_row("int8", runtime="torch", problem="no"),
        make_row("int8", _six(usual_ns=10_000)),
        make_row("float", _six(usual_ns=30_000)),
    )
    data = _strict(profile_json(make_profile(*rows)))
    assert data["reference"] == {"artifact": "int8", "runtime": "ort"}
    ratios = [row["reference_ratio"]["latency"] for row in data["rows"]]
    assert ratios[0] is None
    assert (ratios[1]["median"], ratios[2]["median"]) == (1.0, pytest.approx(1 / 3))


def test_memory_that_is_not_told_is_null() -> None:
    row = _row(make_row(processes=_six(anonymous=(None,) * 7, uss=(None,) * 7)))
    assert row["memory_bytes"] is None
    assert row["reference_ratio"]["memory_total"] is None
    assert row["latency_s"] is not None


def test_an_unstable_row_says_why() -> None:
    latency = _row(make_row(), make_row("noisy", _six(disturbed=range(21))))["latency_s"]
    assert latency["stable"] is False
    assert "ran undisturbed" in latency["unstable_because"]
    assert latency["undisturbed_share"] == 0.0
    assert latency["median"] == pytest.approx(60e-6)


def test_episodes_are_there_if_they_were_played() -> None:
    window = make_window(joules=80.0)
    episodes = _row(make_row(processes=_six(episodes=window)))["episodes"]
    assert (episodes["episodes"], episodes["mean_length"], episodes["mean_return"]) == (12, 200, 15)
    assert episodes["seconds_per_step"] == pytest.approx(2 / 400)
    assert episodes["deciding_share"] == 0.25
    assert episodes["j_per_step"]["mean"] == pytest.approx(0.2)
    assert episodes["j_per_episode"]["mean"] == pytest.approx(40)


def test_episodes_that_failed_say_why() -> None:
    row = _row(make_row(processes=_six(episodes_problem="ValueError: broken")))
    assert (row["episodes"], row["episodes_problem"]) == (None, "ValueError: broken")


def test_memory_of_a_gpu_is_told_apart() -> None:
    gpu = {"allocated": 1, "reserved": 2, "nvml": None}
    processes = [dataclasses.replace(p, gpu_memory_bytes=gpu) for p in _six()]
    row = _row(make_row(), make_row("gpu", processes, runtime="torch-cuda"))
    assert row["gpu_memory_bytes"] == gpu


def test_several_threads_have_no_usual_gauge() -> None:
    profile = dataclasses.replace(make_profile(make_row()), threads=2)
    data = _strict(profile_json(profile))
    assert data["usual_gauge_s"] is None
    assert data["rows"][0]["latency_s"]["undisturbed_share"] == 1.0


def test_another_profile_s_rows_stand_beside_without_ratios() -> None:
    ours = profile_json(make_profile(make_row("float"), make_row("ptdq")))
    elsewhere = dataclasses.replace(HOST, cpu="Another CPU")
    profile = dataclasses.replace(
        make_profile(make_row("float", _six(joules=1.0, meter=METER))), host=elsewhere
    )
    both = _strict(beside(ours, profile_json(profile), "pi"))
    assert both["rows"][:2] == ours["rows"]
    (theirs,) = both["rows"][2:]
    assert theirs["reference_ratio"] is None
    assert theirs["host_id"] == elsewhere.id != HOST.id
    assert "pi" in theirs["artifact"]
    assert "float" in theirs["artifact"]
    assert theirs["latency_s"]["median"] == pytest.approx(20e-6)
    assert [host["cpu"] for host in both["other_hosts"]] == ["Another CPU"]
    assert "other_hosts" not in ours


def test_several_profiles_stand_beside_each_other() -> None:
    ours = profile_json(make_profile(make_row("float")))
    both = beside(beside(ours, ours, "one"), ours, "two")
    assert len({row["artifact"] for row in both["rows"]}) == 3
    assert len(both["other_hosts"]) == 2
