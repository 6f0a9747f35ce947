"""`squeezerl research` as its users run it, and the example that was run to its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from promised_keys import lost_keys
from squeezerl.cli import app
from squeezerl.research.outcome import read_design

EXAMPLE = Path(__file__).parents[2] / "examples" / "research"


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["research", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_list_has_every_question_and_what_is_missing() -> None:
    code, said, _ = invoke("list")
    assert code == 0
    assert "impala: " in said
    data = json.loads(invoke("list", "--json")[1])
    assert lost_keys("research list", data) == set()
    assert len(data["questions"]) == 17


def test_a_design_is_made_and_written_before_it_has_results(tmp_path: Path) -> None:
    code, said, _ = invoke("design", "robotics", "-o", tmp_path / "new", "--json")
    assert code == 0
    data = json.loads(said)
    assert lost_keys("research design", data) == set()
    assert data["power"] >= 0.8
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"study.yaml", "design.json", "PLAN.md", "notebook.ipynb"}
    found = json.loads(invoke("write", tmp_path / "new", "--json")[1])
    assert (found["verdict"], found["findings"]) == ("undecided", [])


@pytest.mark.slow
def test_what_was_found_has_the_promised_keys(finished_design: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished_design, tmp_path / "design")
    code, said, _ = invoke("write", folder, "--json")
    assert code == 0
    data = json.loads(said)
    assert lost_keys("research write", data) == set()
    assert data["verdict"] == data["findings"][0]["verdict"] == "refuted"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("robotic", "-o", "new"), "did you mean robotics"),
        (("stability", "--agents", "demo", "-o", "new"), "leave out --agents"),
        (("robotics", "--episodes", "0", "-o", "new"), "--episodes must be at least 1"),
        (("robotics", "--hours", "0", "-o", "new"), "--hours must be above 0"),
    ],
)
def test_bad_wishes_are_errors_that_teach(
    arguments: tuple[str, ...], advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = invoke("design", *arguments)
    assert code == 2
    assert advice in " ".join(said.split())
    assert not (tmp_path / "new").exists()


def test_the_example_says_in_its_plan_and_notebook_what_was_found() -> None:
    plan = (EXAMPLE / "PLAN.md").read_text(encoding="utf-8")
    cells = nbformat.read(EXAMPLE / "notebook.ipynb", as_version=4).cells
    outputs = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}
    (said,) = outputs["squeezerl-open"]
    first, _, rest = said.text.strip().partition(",")
    assert f"**{first}**,{rest}" in plan
    assert "image/png" in outputs["squeezerl-figure"][0].data
    assert read_design(EXAMPLE).episodes == 60


@pytest.mark.slow
def test_a_pilot_goes_before_what_is_packaged(finished_design: Path, tmp_path: Path) -> None:
    agent = finished_design.parent / "agent.zip"
    common = ("design", "pruning-norm", "--agents", agent, "--env", "CartPole-v1", "--json")
    code, said, _ = invoke(*common, "--pilot", finished_design, "-o", tmp_path / "new")
    assert code == 0
    made = json.loads(said)
    assert made["tested"][0]["source"].startswith("pilot study research-pruning-norm, 1 cells")
    assert made["costs"]["rates_from"].startswith("finished jobs of the same sort for ")
    assert made["costs"]["hours"] > 0  # what the pilot did saves this study nothing
