from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from designs import finish

from squeezerl.analysis.finding import REFUTED, SUPPORTED, UNDECIDED, Finding
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import Interval
from squeezerl.research.design import Design
from squeezerl.research.outcome import Research, conclusion, open_research, read_design
from squeezerl.research.writing import (
    NOTEBOOK,
    PLAN,
    refined,
    results_text,
    run_notebook,
    updated_notebook,
    write_results,
)


@pytest.fixture
def folder(finished_design: Path, tmp_path: Path) -> Path:
    """A copy of the finished design."""
    return shutil.copytree(finished_design, tmp_path / "design")


def findings(*verdicts: str) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            number=1, part="ab"[place], claim=f"Claim {place}.", hypothesis="", statistic="",
            estimate=Interval(estimate=0.1, low=0.0, high=0.2), verdict=verdict, evidence="",
            cells=1,
        )
        for place, verdict in enumerate(verdicts)
    )  # fmt: skip


def test_a_design_survives_its_file(folder: Path) -> None:
    design = read_design(folder)
    assert Design.from_json(json.loads(json.dumps(design.to_json()))) == design


def test_the_study_of_a_known_policy_finds_what_is_known(folder: Path) -> None:
    """Idle neurons go first by both norms, so that neither keeps more."""
    opened = open_research(folder)
    (finding,) = opened.findings
    assert finding.verdict == REFUTED
    assert finding.estimate is not None
    assert finding.estimate.high < 0.05
    assert opened.state.startswith("Refuted, for this one agent.")
    assert "1 of 1 baselines count as trained" in opened.basis


def test_results_go_into_the_plan_and_the_notebook_and_leave_what_is_not_ours(folder: Path) -> None:
    plan = folder / PLAN
    plan.write_text(plan.read_text().replace("## Hypotheses", "My note.\n\n## Hypotheses"))
    notebook = nbformat.read(folder / NOTEBOOK, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_code_cell("mine = 1", id="mine"))
    nbformat.write(notebook, folder / NOTEBOOK)
    for _ in range(2):  # writing again changes nothing
        write_results(open_research(folder))
        text = plan.read_text()
        assert "My note." in text
        assert "Nothing has been run yet" not in text
        assert text.count("## Results") == 1
        assert "**Refuted**, for this one agent." in text
        cells = nbformat.read(folder / NOTEBOOK, as_version=4).cells
        assert [cell.source for cell in cells if cell.id == "mine"] == ["mine = 1"]
        (results,) = (cell.source for cell in cells if cell.id == "squeezerl-results")
        assert results in text


def test_a_deleted_cell_of_results_comes_back(folder: Path) -> None:
    notebook = nbformat.read(folder / NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "squeezerl-results"]
    nbformat.write(notebook, folder / NOTEBOOK)
    cells = updated_notebook(open_research(folder), folder / NOTEBOOK).cells
    assert cells[-1].id == "squeezerl-results"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verdicts", "starts", "said"),
    [
        ((SUPPORTED,), "Supported", [0]),
        ((SUPPORTED, SUPPORTED), "Supported", [0, 1]),
        ((SUPPORTED, UNDECIDED), "Undecided", []),
        ((UNDECIDED,), "Undecided", []),
        ((REFUTED, SUPPORTED), "Refuted", [0]),
        ((REFUTED, UNDECIDED), "Refuted", [0]),
    ],
)
def test_a_conclusion_says_what_the_verdict_carries_and_no_more(
    folder: Path, verdicts: tuple[str, ...], starts: str, said: list[int]
) -> None:
    design = read_design(folder)
    claims = [one.claim for one in findings(*verdicts)]
    (tested,) = design.tested
    several = tuple(
        dataclasses.replace(tested, hypothesis=dataclasses.replace(tested.hypothesis, claim=claim))
        for claim in claims
    )
    text = conclusion(dataclasses.replace(design, tested=several), findings(*verdicts))
    assert text.startswith(f"{starts}, for this one agent")
    assert [place for place, claim in enumerate(claims) if claim in text] == said
    assert text.endswith("Nothing is said about other trainings.")
    others = {"Supported", "Refuted", "Undecided"} - {starts}
    assert not any(other in text for other in others)


def test_a_refuted_difference_does_not_deny_smaller_ones(folder: Path) -> None:
    text = conclusion(read_design(folder), findings(REFUTED))
    assert "An effect of 5.0 points, the least that would matter, is ruled out" in text
    assert "A smaller one is not." in text


def test_before_all_jobs_have_ended_there_is_no_verdict(folder: Path) -> None:
    opened = dataclasses.replace(open_research(folder), open_jobs=1)
    assert opened.verdict == UNDECIDED
    assert opened.findings == ()
    assert "no verdict is given before" in results_text(opened)
    fresh = Research(folder, opened.design)
    assert "Nothing has been run yet" in results_text(fresh)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(folder: Path) -> None:
    write_results(open_research(folder), execute=True)
    cells = nbformat.read(folder / NOTEBOOK, as_version=4).cells
    outputs = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}
    (said,) = outputs["squeezerl-open"]
    assert said.text.startswith("Refuted, for this one agent.")
    assert "ppo-CartPole-v1" in outputs["squeezerl-effects"][0].data["text/plain"]
    assert "image/png" in outputs["squeezerl-figure"][0].data


@pytest.mark.slow
def test_a_cell_that_fails_is_named(folder: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(InvalidArgumentError, match="ZeroDivisionError"):
        run_notebook(notebook, folder)


def test_a_finished_study_is_not_done_again(folder: Path) -> None:
    before = (folder / "study.db").read_bytes()
    finish(folder)
    assert open_research(folder).findings
    assert len((folder / "study.db").read_bytes()) == len(before)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("Two norms may choose other neurons, and nobody knows which is kinder.", None),
        ("L2 is better by 7 points.", "numbers or claims"),
        ("Studies have shown that it works.", "numbers or claims"),
        ("", "empty"),
    ],
)
def test_a_language_model_refines_words_only(folder: Path, words: str, problem: str | None) -> None:
    design = read_design(folder)
    model: Any = SimpleNamespace(invoke=lambda prompt: SimpleNamespace(content=words))
    text, refused = refined(design, model, "scripted")
    if problem is None:
        assert (text, refused) == (words, None)
    else:
        assert text == design.why
        assert refused is not None
        assert problem in refused


def test_a_folder_without_a_design_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="squeezerl research design"):
        open_research(tmp_path)
