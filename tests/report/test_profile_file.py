from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from made_profiles import make_process, make_profile, make_row
from squeezerl.errors import InvalidArgumentError
from squeezerl.report.profile_contract import beside, profile_json
from squeezerl.report.profile_file import read_profile
from squeezerl.report.profile_table import profile_header, profile_markdown, profile_rows


def _data() -> dict[str, Any]:
    fast = make_row("ptdq", [make_process(number, usual_ns=10_000) for number in range(6)])
    return profile_json(make_profile(make_row(), fast, make_row(runtime="sb3", problem="no")))


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(_data()))
    assert read_profile(path) == json.loads(json.dumps(_data()))


def test_rows_beside_others_have_no_ratios_and_say_where_they_are_from() -> None:
    data, other = _data(), _data()
    other["host"]["id"] = "elsewhere"
    for row in other["rows"]:
        row["host_id"] = "elsewhere"
    both = beside(data, other, "pi")
    assert both["rows"][:3] == data["rows"]
    names = [row["artifact"] for row in both["rows"][3:]]
    assert names == ["float (pi)", "ptdq (pi)", "float (pi)"]
    assert all(row["reference_ratio"] is None for row in both["rows"][3:])
    assert both["other_hosts"] == [other["host"]]
    assert profile_header(both)[0] == "host"
    rows = profile_rows(both)
    assert len({len(row) for row in rows} | {len(profile_header(both))}) == 1
    assert "elsewhere: A CPU" in profile_markdown(both)


def _without(key: str) -> dict[str, Any]:
    data = _data()
    del data["rows"][1][key]
    return data


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"rows": [], "host": {}}',
        json.dumps(_data() | {"rows": [_data()["rows"][0] | {"artifact": 3}]}),
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
