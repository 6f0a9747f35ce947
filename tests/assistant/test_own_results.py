"""Results are the same, wherever they are read from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from squeezerl.analysis.frames import StudyData
from squeezerl.assistant.results import Results, read_results
from squeezerl.assistant.results_passages import results_passages
from squeezerl.errors import InvalidArgumentError
from squeezerl.report.study_report import write_study_report

if TYPE_CHECKING:
    from finished import Finished

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.slow
def test_a_report_gives_the_same_passages_as_its_study(
    data: StudyData, results: Results, tmp_path: Path
) -> None:
    write_study_report(data, tmp_path / "report")
    read = read_results(str(tmp_path / "report"))
    ours = [(p.id, p.text) for p in results_passages(results)]
    assert [(p.id, p.text) for p in results_passages(read)] == ours


@pytest.mark.slow
def test_a_study_in_a_store_is_analysed_once(finished: Finished, tmp_path: Path) -> None:
    asked = finished.plan.study.name
    url = finished.plan.study.store
    first = read_results(asked, store=url, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    made = (kept / "study.json").stat().st_mtime_ns
    second = read_results(asked, store=url, cache=tmp_path)
    assert (kept / "study.json").stat().st_mtime_ns == made
    pd.testing.assert_frame_equal(
        first.cells[["agent", "method", "mean_return"]],
        second.cells[["agent", "method", "mean_return"]],
    )


def test_a_squeeze_has_its_choice_and_its_candidates() -> None:
    results = read_results(str(RESULTS / "demo"))
    passages = {p.id: p for p in results_passages(results)}
    chosen = passages["results:note-1"].text
    stored = json.loads((RESULTS / "demo" / "results.json").read_text(encoding="utf-8"))
    size, before = (stored[who]["weight_bytes"] for who in ("chosen", "baseline"))
    assert f"{size:,} bytes" in chosen
    assert f"{before / size:.1f} times smaller" in chosen
    kept = results.cells.set_index("method").loc["ptdq"]
    assert kept["retention"] == pytest.approx(1.00139, abs=1e-5)
    assert "Verdict for 95%: keeps" in passages["results:cell:ppo-HalfCheetah-v5:ptdq"].text


def test_a_report_from_before_constant_actions_were_played_can_be_read(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "published", tmp_path / "earlier")
    cells = tmp_path / "earlier" / "tables" / "cells.csv"
    pd.read_csv(cells).drop(columns="constant_return").to_csv(cells, index=False)
    results = read_results(str(tmp_path / "earlier"))
    assert results.cells["constant_return"].isna().all()
    assert len(results_passages(results)) > 100


@pytest.mark.parametrize("content", [None, "{", '{"agent": {}}'])
def test_what_is_no_result_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=tmp_path.name):
        read_results(str(tmp_path))
