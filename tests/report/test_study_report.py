from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import look_at, nothing_wrong
from matplotlib.figure import Figure
from pictures import is_whole

from made_study import HOST, made_study
from squeezerl.analysis import cells as cells_module
from squeezerl.analysis import study_analysis
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.hierarchy import AgentDraws, agent_draws
from squeezerl.errors import OutputError
from squeezerl.jobs.job import Failure, Job
from squeezerl.report import study_figures
from squeezerl.report.document import Numbers, Paragraph
from squeezerl.report.study_first import first_screen, retention_chart
from squeezerl.report.study_report import write_study_report

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"ratios": (0.05, 0.5), "episodes": 20, "train_seeds": 2}
FAILED = Failure(
    job=Job(kind="compress"),
    label={"agent": "ppo-Hopper-v4", "method": "l1", "ratio": 0.5},
    error="Traceback\nCompressionError: layer <0> | has *no* neurons",
    attempts=2,
    transient=False,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "report"
    data = made_study(**SMALL, untrained=("sac-Hopper-v4",))
    write_study_report(data, folder, unfinished={"pending": 3, "running": 0}, failures=[FAILED])
    return folder


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not painted into files, which takes longest.

    What the files look like, and that they are the same every time, is in test_study_figures.py.
    """

    monkeypatch.setattr(study_figures, "save", _save_nothing)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are painted, which is where Matplotlib finds fault with data, but into no file."""

    def save(figure: Figure, folder: Path, name: str) -> None:
        figure.draw_without_rendering()
        _save_nothing(figure, folder, name)

    monkeypatch.setattr(study_figures, "save", save)


def _save_nothing(figure: Figure, folder: Path, name: str) -> None:
    for suffix in ("png", "svg"):
        (folder / f"{name}.{suffix}").write_text("<svg></svg>", encoding="utf-8")


def test_the_report_says_all_that_was_asked(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    for heading in (
        "Findings of the published study", "What was run", "Returns of quantized policies",
        "Returns of pruned policies", "Best pruning", "Over all cells", "What a decision takes",
        "Beside the published tables", "Score cards", "Every policy", "Failed jobs", "Hosts",
    ):  # fmt: skip
        assert f"## {heading}" in text
    assert "**The study is not complete: 3 pending jobs.**" in text
    assert "sac-Hopper-v4" in text.split("Untrained, and thus")[1].split("\n")[0]
    assert "untrained" in text.split("Table 1 as retention")[1].split("##")[0]
    assert "2 attempts" in text
    assert "    CompressionError: layer <0> | has *no* neurons" in text
    assert HOST in text
    assert "| 1a |" in text


def test_what_comes_first_has_the_share_of_trained_baselines_beside_it(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    first = text.split("##")[0]
    assert "over the 3 trained cells of 4" in first
    assert "3 of 4 baselines count as trained" in first
    assert "- **3 of 4** baselines are trained: for 100,000 steps" in first
    assert "PTDQ has the fewest bytes of all methods that clearly keep 90% of the return" in first


def test_no_method_is_praised_that_does_not_clearly_keep_its_return() -> None:
    data = made_study(
        **SMALL, algorithms=("ppo",), environments=("Hopper-v4",),
        truth=lambda agent, method, ratio: 1.0 if method == "float" else 0.5,
    )  # fmt: skip
    sentence, numbers, *_ = first_screen(data, study_analysis.analyse(data, 0))
    assert isinstance(sentence, Paragraph)
    assert str(sentence.text).startswith("No method clearly keeps 90% of the return")
    assert isinstance(numbers, Numbers)
    assert numbers.numbers[-1].value == "1 of 1"


def test_a_baseline_that_is_not_evaluated_yet_is_not_called_untrained() -> None:
    data = made_study(**SMALL, environments=("Hopper-v4",))
    returns = data.returns[
        (data.returns.agent != "sac-Hopper-v4") | (data.returns.method == "ptdq")
    ]
    begun = dataclasses.replace(data, returns=returns)
    sentence, numbers, *_ = first_screen(begun, study_analysis.analyse(begun, 0))
    assert isinstance(sentence, Paragraph)
    assert "over the 1 trained cell of 2" in sentence.text
    assert isinstance(numbers, Numbers)
    assert numbers.numbers[-1].value == "1 of 1"


def test_a_method_that_fails_one_agent_is_not_praised_without_saying_so() -> None:
    def truth(agent: str, method: str, ratio: float | None) -> float:
        return 0.3 if agent == "sac-Ant-v4" and method == "ptdq" else 0.99

    environments = ("Hopper-v4", "HalfCheetah-v4", "Ant-v4")
    only = {"quantized": ("ptdq",), "pruned": (), "tickets": (), "costs": False}
    data = made_study(train_seeds=1, environments=environments, truth=truth, **only)
    sentence, *_ = first_screen(data, study_analysis.analyse(data, 0))
    assert isinstance(sentence, Paragraph)
    assert re.search(
        r"over the 6 trained cells of 6: .*, but clearly less in 1 of them\.", sentence.text
    )


def test_every_trained_policy_has_a_mark(report: Path) -> None:
    data = made_study(**SMALL, untrained=("sac-Hopper-v4",))
    analysis = study_analysis.analyse(data, 0)
    cells = analysis.cells
    shown = cells[cells["retention"].notna() & (cells["method"] != "float")]
    chart = retention_chart(data, analysis)
    assert [mark.y for mark in chart.marks] == shown["retention"].tolist()
    assert not any("SAC on Hopper-v4" in mark.tip for mark in chart.marks)


def test_the_site_is_whole_in_a_browser(report: Path, tmp_path: Path) -> None:
    seen = look_at(report / "index.html", tmp_path)
    nothing_wrong(seen)
    assert all(one["charts"] == 1 and one["marks"] > 20 for one in seen.widths)


def test_every_link_leads_somewhere(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 30
    for link in links:
        assert (report / link).is_file(), link


def test_tables_have_as_many_cells_as_titles(report: Path) -> None:
    for path in (report / "tables").glob("*.md"):
        rows = [
            len(re.findall(r"(?<!\\)\|", line))
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("|")
        ]
        assert len(set(rows)) == 1, path.name
        # As many lines as the tidy data, where the table is not laid out in another way.
        if path.stem in ("runs", "cells", "costs", "score-cards", "comparison", "aggregates"):
            assert len(rows) - 2 == len(pd.read_csv(path.with_suffix(".csv")))


class _Page(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_the_page_needs_nothing_else(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert not page.tags & {"link", "iframe"}
    assert len(page.sources) == len(list((report / "figures").glob("*.svg")))
    for source in page.sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
    assert "layer &lt;0&gt; | has *no* neurons" in text
    assert "<table>" in text
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) > 30
    for link in links:
        inside = link.startswith("#") and f'id="{link[1:]}"' in text
        assert inside or (report / link).is_file(), link


def test_programs_read_the_findings_the_cards_and_the_whole_report(report: Path) -> None:
    content = json.loads((report / "study.json").read_text(encoding="utf-8"))
    assert content["study"] == "made"
    blocks = content["report"]["blocks"]
    assert {block["kind"] for block in blocks} == {
        "heading", "paragraph", "items", "preformatted", "table", "figure", "folded", "numbers",
    }  # fmt: skip
    assert {finding["number"] for finding in content["findings"]["ort"]} == {1, 2, 3, 4, 5, 6}
    cards = content["score_cards"]
    assert len(cards) == len(pd.read_csv(report / "tables" / "score-cards.csv"))
    untrained = [card for card in cards if card["agent"] == "sac-Hopper-v4"]
    assert untrained
    assert all(card["score"] is None for card in untrained)


def test_every_picture_of_four_cells_is_whole(report: Path) -> None:
    names = {path.stem for path in (report / "figures").glob("*.svg")}
    assert {"figure1", "figure2", "figure3", "retention", "iqm", "profiles", "curves"} <= names
    for name in names:
        is_whole(report / "figures", name)


@pytest.mark.usefixtures("unpainted")
def test_the_same_data_and_seed_give_the_same_files(tmp_path: Path) -> None:
    data = made_study(**SMALL, **ONE)
    for name in ("a", "b"):
        write_study_report(data, tmp_path / name)
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes(), path.name
    write_study_report(data, tmp_path / "c", seed=1)
    cells = [(tmp_path / name / "tables" / "cells.csv").read_text() for name in ("a", "c")]
    assert cells[0] != cells[1]


@pytest.mark.usefixtures("unpainted")
def test_the_bootstrap_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(data: StudyData, rng: np.random.Generator) -> Iterator[AgentDraws]:
        drawn.append(data.name)
        return agent_draws(data, rng)

    for module in (study_analysis, cells_module):
        monkeypatch.setattr(module, "agent_draws", counted)
    write_study_report(made_study(**SMALL, **ONE), tmp_path / "report")
    assert drawn == ["made"]


@pytest.mark.usefixtures("unpainted")
def test_whatever_was_run_is_in_the_report(tmp_path: Path) -> None:
    """A naive quantization and methods of the user's own stand beside the paper's."""
    own = {"quantized": ("ptdq", "ptdq-naive", "mine"), "pruned": ("l1", "l2", "mine-pruned")}
    write_study_report(made_study(**SMALL, **ONE, **own), tmp_path / "report")
    tables = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (tmp_path / "report" / "tables").glob("*.md")
    }
    for name in ("naive PTDQ", "mine"):
        for table in ("table1", "table1-retention", "cells", "costs", "aggregates", "score-cards"):
            assert f"| {name} |" in tables[table], (name, table)
    assert "mine-pruned" in tables["table2-mean"].splitlines()[2]
    for table in ("cells", "costs", "aggregates", "score-cards"):
        assert "| mine-pruned 50 % |" in tables[table]


def test_findings_say_what_they_rest_on(report: Path) -> None:
    basis = (
        "The float policies were trained for 100,000 steps (PPO, SAC). 3 of 4 baselines count as "
        "trained: clearly better than a random policy. No constant action was played"
    )
    text = (report / "report.md").read_text(encoding="utf-8")
    summary, findings = text.split("## Findings of the published study")
    assert basis in summary
    assert basis in findings.split("## What was run")[0]
    assert basis in (report / "index.html").read_text(encoding="utf-8")
    content = json.loads((report / "study.json").read_text(encoding="utf-8"))
    assert content["basis"].startswith(basis)


@pytest.mark.usefixtures("unpainted")
def test_a_baseline_below_the_best_constant_action_is_untrained(tmp_path: Path) -> None:
    write_study_report(made_study(**SMALL, **ONE, constant=1.5), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    runs = (tmp_path / "report" / "tables" / "runs.md").read_text(encoding="utf-8")
    assert "| best constant action | trained |" in runs
    assert runs.splitlines()[4].endswith("| no |")
    assert "0 of 1 baselines count as trained: clearly better than a random policy and the" in text


@pytest.mark.usefixtures("unwritten")
def test_hostile_names_do_no_harm(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>|*b*"
    data = made_study(**SMALL, **ONE, quantized=("ptdq", hostile))
    agent = "ppo|<b>Hopper</b>"
    renamed = {
        name: getattr(data, name).assign(
            agent=[own and agent for own in getattr(data, name)["agent"]]
        )
        for name in ("returns", "costs", "trainings")
    }
    write_study_report(dataclasses.replace(data, name=hostile, **renamed), tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<b>Hopper" not in page
    for path in (tmp_path / "report").rglob("*.md"):
        assert not re.search(r"<(img|b)", path.read_text(encoding="utf-8")), path.name


def _empty(data: StudyData) -> StudyData:
    return dataclasses.replace(
        data,
        returns=data.returns.iloc[:0],
        costs=data.costs.iloc[:0],
        trainings=data.trainings.iloc[:0],
        hosts={},
    )


def _without(data: StudyData, **values: Any) -> StudyData:
    rows = data.returns
    for name, value in values.items():
        rows = rows[rows[name] != value]
    return dataclasses.replace(data, returns=rows)


def _as_objects(data: StudyData) -> StudyData:
    """As frames come that were made from rows with None."""
    frames = {
        name: getattr(data, name).astype(object).where(getattr(data, name).notna(), None)
        for name in ("returns", "costs", "trainings")
    }
    return dataclasses.replace(data, **frames)


ONE = {"algorithms": ("ppo",), "environments": ("Hopper-v4",)}


@pytest.mark.parametrize(
    "data",
    [
        _empty(made_study(**SMALL, **ONE)),
        _without(made_study(**SMALL, **ONE), method="float"),
        _without(made_study(**SMALL, **ONE), method="random"),
        _without(made_study(**SMALL, environments=("Hopper-v4",)), agent="ppo-Hopper-v4"),
        made_study(**SMALL, **ONE, costs=False, pruned=(), tickets=()),
        made_study(**SMALL, **ONE, quantized=(), energy=False),
        made_study(ratios=(0.1,), train_seeds=1, episodes=1, **ONE),
        made_study(**SMALL, environments=("Hopper-v4",), untrained=("ppo-Hopper-v4",)),
        _as_objects(made_study(ratios=(0.05, 0.5), train_seeds=1, episodes=20, **ONE)),
    ],
    ids=[
        "nothing", "no float", "no random", "a cell missing", "no costs", "no energy",
        "one episode", "untrained", "objects",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("unwritten")
def test_a_study_is_reported_as_far_as_it_went(data: StudyData, tmp_path: Path) -> None:
    write_study_report(data, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b|None", text)
    assert (tmp_path / "report" / "index.html").stat().st_size > 1000


@pytest.mark.usefixtures("unpainted")
def test_agents_that_share_algorithm_and_environment_are_told_apart(tmp_path: Path) -> None:
    data = made_study(**SMALL, **ONE)
    twins = data.returns[data.returns["method"] != "random"].assign(agent="other-ppo")
    both = pd.concat([data.returns, twins], ignore_index=True)
    write_study_report(dataclasses.replace(data, returns=both), tmp_path / "report")
    text = (tmp_path / "report" / "tables" / "table1.md").read_text(encoding="utf-8")
    assert "| other-ppo |" in text
    assert "| ppo-Hopper-v4 |" in text


@pytest.mark.usefixtures("unpainted")
def test_only_a_report_is_replaced_and_only_with_force(report: Path, tmp_path: Path) -> None:
    data = made_study(**SMALL, **ONE, costs=False, tickets=())
    with pytest.raises(OutputError, match="not empty"):
        write_study_report(data, report)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not one of ours"):
        write_study_report(data, other, force=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    write_study_report(data, tmp_path / "mine")
    write_study_report(data, tmp_path / "mine", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "other"]


def test_what_differs_between_trainings_is_in_the_report(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "### Between trainings" in text
    assert "### Between hyperparameters" not in text  # there is one setting only
    assert "retention_sd" in (report / "tables" / "trainings.csv").read_text(encoding="utf-8")
