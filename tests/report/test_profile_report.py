from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from squeezerl.errors import InvalidArgumentError
from squeezerl.measurement.result import Meter, ProcessRecord
from squeezerl.records import to_json
from squeezerl.report.profile_report import (
    beside,
    episodes_table,
    measured_cells,
    measured_columns,
    profile_json,
    profile_markdown,
    profile_notes,
    profile_table,
    read_profile,
    short_names,
)

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


SENSOR = Meter(source="rapl: package-0", estimated=False)


def _header(data: dict[str, Any]) -> tuple[str, ...]:
    return profile_table(data).header


def _rows(data: dict[str, Any]) -> list[tuple[str, ...]]:
    return profile_table(data).plain_rows


def _cells(data: dict[str, Any], index: int = 0) -> dict[str, str]:
    """A row's cells by title."""
    table = profile_table(data)
    return dict(zip(table.header, table.plain_rows[index], strict=True))


def _data(*rows: Any, **settings: Any) -> dict[str, Any]:
    return profile_json(make_profile(*rows, **settings))


def test_a_row_shows_its_figures() -> None:
    fast = _six(usual_ns=10_000, joules=1.0)
    data = _data(make_row("out/float", _six(joules=2.0)), make_row("out/ptdq", fast))
    cells = _cells(data, 1)
    assert (cells["policy"], cells["runtime"]) == ("ptdq", "ort")
    assert (cells["file"], cells["smaller"]) == ("4.00 kB", "1.00x")
    assert cells["latency [95 %]"] == "10.0 µs [10.0, 10.0]"
    assert (cells["p99"], cells["faster"]) == ("10.0 µs", "2.00x")
    assert (cells["memory: runtime"], cells["model"]) == ("40.0 B", "8.00 B")
    assert (cells["total"], cells["less memory"]) == ("58.0 B", "1.00x")
    assert cells["J/decision, estimate"] == "10.0 mJ [10.0, 10.0]"
    assert cells["less energy"] == "2.00x"


def test_every_row_has_a_cell_for_every_title() -> None:
    data = _data(
        make_row("a", _six(joules=1.0)),
        make_row("b", runtime="torch", problem="no"),
        make_row("c", _six(anonymous=(None,) * 7, uss=(None,) * 7)),
    )
    for shown in (data, beside(data, data, "old")):
        width = len(_header(shown))
        assert all(len(row) == width for row in _rows(shown))


def test_what_is_unknown_is_a_dash_and_never_zero() -> None:
    data = _data(
        make_row("a", _six(anonymous=(None,) * 7, uss=(None,) * 7)),
        make_row("b", runtime="torch", problem="no"),
    )
    known = _cells(data)
    assert {known[title] for title in ("memory: runtime", "model", "total")} == {"–"}
    assert (known["J/decision"], known["less energy"], known["less memory"]) == ("–", "–", "–")
    unmeasured = _cells(data, 1)
    size = {"policy", "runtime", "file", "smaller"}
    assert {cell for title, cell in unmeasured.items() if title not in size} == {"–"}
    assert unmeasured["file"] == "4.00 kB"


def test_an_unstable_latency_is_marked() -> None:
    data = _data(make_row("a"), make_row("b", _six(disturbed=range(21))))
    assert not _cells(data)["latency [95 %]"].endswith("!")
    assert _cells(data, 1)["latency [95 %]"].endswith(" !")
    assert not _cells(data)["faster"].endswith("!")
    assert _cells(data, 1)["faster"].endswith(" !")


def test_ratios_against_an_unstable_reference_are_all_marked() -> None:
    data = _data(make_row("a", _six(disturbed=range(21))), make_row("b"))
    assert _cells(data, 1)["latency [95 %]"].endswith("]")
    assert _cells(data, 1)["faster"].endswith(" !")


@pytest.mark.parametrize(
    ("meters", "title"),
    [
        ((), "J/decision"),
        ((SENSOR,), "J/decision"),
        ((METER,), "J/decision, estimate"),
        ((METER, METER), "J/decision, estimate"),
        ((METER, SENSOR), "J/decision (~ estimate)"),
    ],
)
def test_the_title_of_joules_says_if_they_are_estimated(
    meters: tuple[Meter, ...], title: str
) -> None:
    rows = [
        make_row(str(number), _six(joules=1.0, meter=meter)) for number, meter in enumerate(meters)
    ]
    assert title in _header(_data(make_row("none"), *rows))


def test_where_some_joules_are_estimated_each_of_them_is_marked() -> None:
    data = _data(
        make_row("a", _six(joules=1.0, meter=METER)),
        make_row("b", _six(joules=1.0, meter=SENSOR)),
        make_row("c"),
    )
    shown = [_cells(data, index)["J/decision (~ estimate)"] for index in range(3)]
    assert shown == ["10.0 mJ [10.0, 10.0] ~", "10.0 mJ [10.0, 10.0]", "–"]


def _notes(*rows: Any, **settings: Any) -> str:
    return "\n".join(profile_notes(_data(*rows, **settings)))


def test_notes_say_what_is_missing_noisy_or_estimated() -> None:
    notes = _notes(
        make_row("out/float", _six(joules=1.0)),
        make_row("out/noisy", _six(disturbed=range(21), joules=1.0)),
        make_row("out/ptdq", runtime="torch", problem="int8 runs in ONNX Runtime only"),
        make_row("out/played", _six(joules=1.0, episodes_problem="KeyError: 'x'")),
    )
    assert "ptdq in torch: int8 runs in ONNX Runtime only" in notes
    assert "noisy in ort: not stable, only 0 of 6 processes" in notes
    assert "played in ort: no episodes, KeyError: 'x'" in notes
    assert notes.count(f"energy: {METER.source}") == 1
    assert "reference is float in ort" in notes
    assert "float in ort: " not in notes


def test_a_note_says_why_there_are_no_joules() -> None:
    assert "no energy: a virtual machine" in _notes(make_row(), meter_problem="a virtual machine")
    assert "no energy" not in _notes(make_row())


def test_a_row_that_failed_late_shows_its_figures_and_the_reason() -> None:
    late = dataclasses.replace(make_row("late"), problem="the sensor fell")
    data = _data(make_row("a"), late)
    assert _cells(data, 1)["latency [95 %]"].startswith("20.0 µs")
    assert "late in ort: the sensor fell" in "\n".join(profile_notes(data))


def test_rows_of_another_host_say_which() -> None:
    data = _data(make_row("float"))
    elsewhere = dataclasses.replace(HOST, cpu="Another CPU")
    other = profile_json(dataclasses.replace(make_profile(make_row("float")), host=elsewhere))
    both = beside(data, other, "pi")
    assert _header(both)[0] == "host"
    assert [row[0] for row in _rows(both)] == [HOST.id, elsewhere.id]
    assert f"host {elsewhere.id}: Another CPU" in "\n".join(profile_notes(both))
    assert "host" not in _header(data)


@pytest.mark.parametrize("name", ["demo", "out/ptdq", "/tmp/a/b/ptdq"])
def test_rows_of_another_run_are_never_taken_for_this_one_s(name: str) -> None:
    ours = _data(make_row("out/float"))
    both = beside(ours, _data(make_row(name)), "before")
    titles = _header(both)
    assert "host" not in titles  # the same one
    shown = [row[titles.index("policy")] for row in _rows(both)]
    assert "before" not in shown[0]
    assert "before" in shown[1]
    assert Path(name).name in shown[1]


def test_episodes_have_a_table_of_their_own() -> None:
    data = _data(
        make_row("a", _six(episodes=make_window(joules=80.0), joules=1.0)),
        make_row("b"),
        make_row("c", _six(episodes=make_window())),
    )
    rows = episodes_table(data).plain_rows
    assert [row[0] for row in rows] == ["a", "c"]
    header = episodes_table(data).header
    assert all(len(row) == len(header) for row in rows)
    first = dict(zip(header, rows[0], strict=True))
    assert (first["episodes"], first["mean return"], first["mean length"]) == ("12", "15", "200")
    assert (first["time/step"], first["deciding"]) == ("5.00 ms", "25%")
    assert first["energy/step"].startswith("200 mJ")
    assert first["energy/episode"].startswith("40.0 J")
    assert rows[1][-2:] == ("–", "–")


def test_the_markdown_has_tables_notes_legend_and_host() -> None:
    data = _data(
        make_row("a", _six(episodes=make_window())),
        make_row("b", runtime="sb3", problem="no"),
        meter_problem="none here",
    )
    markdown = profile_markdown(data)
    for text in (
        "`!` marks what is not stable",
        "- b in sb3: no",
        "- no energy: none here",
        "A CPU",
        "numpy 2.4.6",
        "avx2",
    ):
        assert text in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == (2 + 2) + (2 + 1)
    assert {line.count("|") for line in tables} == {
        len(_header(data)) + 1, len(episodes_table(data).header) + 1,
    }  # fmt: skip
    assert "None" not in markdown
    assert "nan" not in markdown


def test_the_markdown_knows_a_host_that_tells_little() -> None:
    bare = dataclasses.replace(
        HOST, load=None, governor=None, virtual_machine=None, cpu_flags=(), libraries={}
    )
    profile = dataclasses.replace(make_profile(make_row()), host=bare)
    markdown = profile_markdown(profile_json(profile))
    assert "load unknown" in markdown
    assert "governor unknown" in markdown
    assert "None" not in markdown


def test_candidates_that_were_measured_get_columns() -> None:
    assert measured_columns(None) == ()
    assert measured_cells(None) == {}
    assert measured_columns(_data(make_row())) == ("latency", "model memory")
    metered = _data(
        make_row("float", _six(joules=1.0)),
        make_row("unmetered"),
        make_row("failed", problem="no"),
    )
    assert measured_columns(metered) == ("latency", "model memory", "J/decision, estimate")
    assert measured_cells(metered) == {
        "float": ("20.0 µs", "8.00 B", "10.0 mJ"),
        "unmetered": ("20.0 µs", "8.00 B", "–"),
    }


def test_each_runtime_has_a_column_and_memory_is_that_of_the_first() -> None:
    fast = [make_process(number, usual_ns=1000, anonymous=(0,) * 7) for number in range(6)]
    data = _data(
        make_row("float"),
        make_row("float", fast, runtime="native"),
        make_row("drawn"),
        make_row("drawn", runtime="native", problem="it cannot"),
    )
    assert measured_columns(data) == ("ort latency", "native latency", "model memory")
    assert measured_cells(data) == {
        "float": ("20.0 µs", "1.00 µs", "8.00 B"),
        "drawn": ("20.0 µs", "–", "8.00 B"),
    }


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["demo"], ["demo"]),
        (["out/candidates/float", "out/candidates/ptdq"], ["float", "ptdq"]),
        (["a/float", "b/float"], ["a/float", "b/float"]),
        (["a/x/float", "b/x/float", "b/x/ptdq"], ["a/x/float", "b/x/float", "ptdq"]),
        (["float", "a/float"], ["float", "a/float"]),
        (["/x", "x"], ["/x", "x"]),
        (["demo", "demo"], ["demo", "demo"]),
        (["./out", "out/"], ["out", "out"]),  # one folder
        ([""], ["."]),
    ],
)
def test_the_shortest_endings_tell_paths_apart(paths: list[str], names: list[str]) -> None:
    found = short_names(paths)
    assert [found[path] for path in paths] == names


PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=6))
def test_different_paths_have_different_names(paths: list[str]) -> None:
    names = short_names(paths)
    assert names.keys() == set(paths)
    different = {Path(path) for path in paths}
    assert len(set(names.values())) == len(different)
    for path, name in names.items():
        assert Path(path).parts[-len(Path(name).parts) or None :] == Path(name).parts


def _written() -> dict[str, Any]:
    fast = make_row("ptdq", [make_process(number, usual_ns=10_000) for number in range(6)])
    return profile_json(make_profile(make_row(), fast, make_row(runtime="sb3", problem="no")))


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(_written()))
    assert read_profile(path) == json.loads(json.dumps(_written()))


def test_rows_beside_others_have_no_ratios_and_say_where_they_are_from() -> None:
    data, other = _written(), _written()
    other["host"]["id"] = "elsewhere"
    for row in other["rows"]:
        row["host_id"] = "elsewhere"
    both = beside(data, other, "pi")
    assert both["rows"][:3] == data["rows"]
    names = [row["artifact"] for row in both["rows"][3:]]
    assert names == ["float (pi)", "ptdq (pi)", "float (pi)"]
    assert all(row["reference_ratio"] is None for row in both["rows"][3:])
    assert both["other_hosts"] == [other["host"]]
    assert _header(both)[0] == "host"
    rows = _rows(both)
    assert len({len(row) for row in rows} | {len(_header(both))}) == 1
    assert "elsewhere: A CPU" in profile_markdown(both)


def _without(key: str) -> dict[str, Any]:
    data = _written()
    del data["rows"][1][key]
    return data


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"rows": [], "host": {}}',
        json.dumps(_written() | {"rows": [_written()["rows"][0] | {"artifact": 3}]}),
        json.dumps(_without("latency_s")),
        json.dumps(_without("file_bytes")),
        json.dumps({"baseline": {}, "candidates": [], "host": {}}),
        "[" * 100_000,
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "before.json"
    path.write_text(content)
    with pytest.raises(InvalidArgumentError, match=r"before\.json: not a profile"):
        read_profile(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no such file"):
        read_profile(tmp_path / "missing.json")
