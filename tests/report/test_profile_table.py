from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_profiles import HOST, METER, make_process, make_profile, make_row, make_window
from squeezerl.measurement.result import Meter, ProcessRecord
from squeezerl.report.profile_contract import beside, profile_json
from squeezerl.report.profile_table import (
    EPISODES_HEADER,
    LEGEND,
    episode_rows,
    measured_cells,
    measured_columns,
    profile_header,
    profile_markdown,
    profile_notes,
    profile_rows,
    short_names,
)

SENSOR = Meter(source="rapl: package-0", estimated=False)


def _six(**figures: Any) -> list[ProcessRecord]:
    return [make_process(number, **figures) for number in range(6)]


def _cells(data: dict[str, Any], index: int = 0) -> dict[str, str]:
    """A row's cells by title."""
    return dict(zip(profile_header(data), profile_rows(data)[index], strict=True))


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
        width = len(profile_header(shown))
        assert all(len(row) == width for row in profile_rows(shown))


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
    assert title in profile_header(_data(make_row("none"), *rows))


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
    assert profile_header(both)[0] == "host"
    assert [row[0] for row in profile_rows(both)] == [HOST.id, elsewhere.id]
    assert f"host {elsewhere.id}: Another CPU" in "\n".join(profile_notes(both))
    assert "host" not in profile_header(data)


@pytest.mark.parametrize("name", ["demo", "out/ptdq", "/tmp/a/b/ptdq"])
def test_rows_of_another_run_are_never_taken_for_this_one_s(name: str) -> None:
    ours = _data(make_row("out/float"))
    both = beside(ours, _data(make_row(name)), "before")
    titles = profile_header(both)
    assert "host" not in titles  # the same one
    shown = [row[titles.index("policy")] for row in profile_rows(both)]
    assert "before" not in shown[0]
    assert "before" in shown[1]
    assert Path(name).name in shown[1]


def test_episodes_have_a_table_of_their_own() -> None:
    data = _data(
        make_row("a", _six(episodes=make_window(joules=80.0), joules=1.0)),
        make_row("b"),
        make_row("c", _six(episodes=make_window())),
    )
    rows = episode_rows(data)
    assert [row[0] for row in rows] == ["a", "c"]
    assert all(len(row) == len(EPISODES_HEADER) for row in rows)
    first = dict(zip(EPISODES_HEADER, rows[0], strict=True))
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
        LEGEND,
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
        len(profile_header(data)) + 1, len(EPISODES_HEADER) + 1,
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
