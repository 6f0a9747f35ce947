"""A design and its results as PLAN.md and as a notebook; what the user wrote in them stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from squeezerl.analysis.finding import Finding
from squeezerl.artifacts.output import new_folder
from squeezerl.errors import InvalidArgumentError
from squeezerl.report import document as doc
from squeezerl.report.renderers import render
from squeezerl.report.study_tables import cells_table
from squeezerl.report.text import DASH, format_si
from squeezerl.research.design import STUDY_YAML, Design
from squeezerl.research.outcome import DESIGN_JSON, Research, rule_text

PLAN, NOTEBOOK = "PLAN.md", "notebook.ipynb"
_RESULTS = "Results"
_CELL = "squeezerl-"  # how the ids of our own cells begin
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_NEEDS = 'pip install "squeezerl[research]"'

_OPEN = """from squeezerl.research import open_research

research = open_research(".")
print(research.state)"""
_EFFECTS = """research.effects.round(3)"""
_FIGURE = """%matplotlib inline
import matplotlib.pyplot as plt

effects = research.effects
if len(effects):
    names = effects.hypothesis + ": " + effects.cell
    figure, axes = plt.subplots(figsize=(7, 1 + 0.4 * len(effects)))
    reach = [effects.estimate - effects.low, effects.high - effects.estimate]
    axes.errorbar(effects.estimate, names, xerr=reach, fmt="o", color="black", capsize=3)
    for tested in research.design.tested:
        axes.axvline(tested.hypothesis.rule.bound, color="grey", linestyle="--")
    axes.set_xlabel("effect with 95 % interval; dashed: where support begins")
    plt.show()
else:
    print("There are no effects yet.")"""
_CELLS = """columns = ["agent", "method", "ratio", "mean_return", "retention", "retention_low",
           "retention_high", "verdict", "weight_bytes"]
research.cells[columns].round(3) if research.data is not None else print("No results yet.")"""
_OWN = """# Room for your own cells. `write` changes none but ours.
# research.data has the frames `returns`, `costs` and `trainings` of the study."""


def write_folder(design: Design, folder: Path, work: Path) -> None:
    """Write design.json, PLAN.md and the notebook of a new design into a folder.

    Args:
        design: to write.
        folder: where it will be.
        work: where to write now.
    """
    research = Research(folder, design)
    content = json.dumps(design.to_json(), indent=1, allow_nan=False)
    (work / DESIGN_JSON).write_text(content + "\n", encoding="utf-8")
    plan = "\n".join([plan_text(design), results_text(research)])
    (work / PLAN).write_text(plan, encoding="utf-8")
    _write_notebook(new_notebook(research), work / NOTEBOOK)


def write_results(research: Research, *, execute: bool = False) -> None:
    """Fill the results into PLAN.md and the notebook.

    In PLAN.md all from the heading "Results" on is ours; in the notebook our own cells are. What
    else is there stays.

    Args:
        research: the design with its results.
        execute: whether to run the notebook, the user's cells included.

    Raises:
        InvalidArgumentError: if a file cannot be read or run.
    """
    path = research.folder / PLAN
    text = path.read_text(encoding="utf-8") if path.is_file() else plan_text(research.design)
    kept = text.partition(f"\n## {_RESULTS}\n")[0].rstrip("\n")
    path.write_text(f"{kept}\n\n{results_text(research)}", encoding="utf-8")
    notebook = updated_notebook(research, research.folder / NOTEBOOK)
    if execute:
        run_notebook(notebook, research.folder)
    _write_notebook(notebook, research.folder / NOTEBOOK)


def new_design_folder(path: Path, *, force: bool) -> Any:
    """A temporary folder that becomes the design's; see `new_folder`."""
    return new_folder(path, force=force, marker=DESIGN_JSON)


def plan_text(design: Design) -> str:
    """The plan, without results."""
    return _markdown(doc.Document(title=design.title, blocks=tuple(_plan(design))))


def results_text(research: Research) -> str:
    """The results, beginning with their heading."""
    blocks = [doc.Heading(_RESULTS), *_results(research)]
    return _markdown(doc.Document(title="", blocks=tuple(blocks)))


def _plan(design: Design) -> Iterable[doc.Block]:
    if design.asked != design.title:
        near = f" Also near: {', '.join(design.near)}." if design.near else ""
        yield doc.Paragraph(f"Asked as: {design.asked} This is question {design.question}.{near}")
    words = f" (in words of {design.words_by})" if design.words_by else ""
    yield doc.Paragraph(design.why + words)
    yield doc.Heading("Hypotheses")
    yield doc.Items(
        tuple(
            (
                doc.Strong("abcdef"[number]),
                f": {one.hypothesis.claim} Statistic: {one.hypothesis.says}. "
                f"{rule_text(one.hypothesis)}",
            )
            for number, one in enumerate(design.tested)
        )
    )
    yield doc.Paragraph(
        "All of them must be supported for an answer; one that is refuted refutes. The verdict is "
        "given when all jobs have ended, not before."
        if len(design.tested) > 1
        else "The verdict is given when all jobs have ended, not before."
    )
    yield doc.Heading("Size, and what it can see")
    yield _size(design)
    yield _power_table(design)
    yield doc.Heading("What it takes here")
    costs = design.costs
    yield doc.Items(
        (
            f"{costs.jobs:,} jobs, about {costs.hours:.2g} hours ({costs.core_hours:.2g} hours of "
            f"one core), from {costs.rates_from}",
            f"{format_si(costs.disk_bytes, 'B')} of disk",
            f"{format_si(costs.energy_j, 'J')}: {costs.energy_from}",
            f"host: {design.host}",
        )
    )
    yield doc.Heading("What is not available here")
    yield doc.Items(design.missing) if design.missing else doc.Paragraph("Nothing that it needs.")
    yield doc.Heading("Threats to validity")
    yield doc.Items(design.threats)
    yield doc.Heading("How to run it")
    yield doc.Preformatted(
        "squeezerl research run DIR      # goes on where it was interrupted\n"
        "squeezerl research write DIR    # results into this plan and the notebook"
    )


def _size(design: Design) -> doc.Paragraph:
    agents = f"{len(design.agents)} {'agent' if len(design.agents) == 1 else 'agents'}"
    trainings = (
        "each trained once" if design.trainings == 1 else f"each trained {design.trainings} times"
    )
    return doc.Paragraph(
        f"{agents} ({', '.join(design.agents)}), {trainings}, {design.episodes} episodes of each "
        "policy on equal environment seeds. Power is the probability of the verdict "
        '"supported" if the true effect is the one that would matter: '
        + ", ".join(one.hypothesis.show(one.hypothesis.rule.effect) for one in design.tested)
        + "."
    )


def _power_table(design: Design) -> doc.Table:
    def number(value: float | None) -> str:
        return DASH if value is None else f"{value:.3f}"

    return doc.Table(
        header=("", "power", "deviation between trainings", "between episodes", "from"),
        rows=tuple(
            (
                "abcdef"[index],
                DASH if one.power is None else f"{one.power:.0%}",
                number(one.trainings_sd),
                number(one.episodes_sd),
                one.source,
            )
            for index, one in enumerate(design.tested)
        ),
        left=(0, 4),
    )


def _results(research: Research) -> Iterable[doc.Block]:
    first, separator, rest = research.state.partition(",")
    said = (doc.Strong(first), separator + rest) if research.findings else research.state
    yield doc.Paragraph(said)
    if research.findings:
        yield doc.Paragraph(research.basis)
        yield _verdicts(research.findings)
        assert research.data is not None
        yield cells_table(research.cells, research.data.methods)


def _verdicts(findings: Iterable[Finding]) -> doc.Table:
    return doc.Table(
        header=("", "hypothesis", "verdict", "estimate"),
        rows=tuple(
            (one.part, one.claim, doc.Strong(one.verdict), one.evidence) for one in findings
        ),
        left=(0, 1, 2, 3),
    )


def _markdown(document: doc.Document) -> str:
    return render(document, "markdown", Path())


def new_notebook(research: Research) -> Any:
    """The notebook of a design."""
    v4 = _nbformat().v4
    design = research.design
    cells = [
        v4.new_markdown_cell(plan_text(design), id=f"{_CELL}plan"),
        v4.new_code_cell(_OPEN, id=f"{_CELL}open"),
        v4.new_markdown_cell(results_text(research), id=f"{_CELL}results"),
        v4.new_code_cell(_EFFECTS, id=f"{_CELL}effects"),
        v4.new_code_cell(_FIGURE, id=f"{_CELL}figure"),
        v4.new_code_cell(_CELLS, id=f"{_CELL}cells"),
        v4.new_markdown_cell("## Your own cells", id="own-heading"),
        v4.new_code_cell(_OWN, id="own-cell"),
    ]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL})


def updated_notebook(research: Research, path: Path) -> Any:
    """The notebook at a path with our results; a new one where there is none.

    Raises:
        InvalidArgumentError: if it is no notebook.
    """
    if not path.is_file():
        return new_notebook(research)
    nbformat = _nbformat()
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, KeyError, nbformat.ValidationError) as error:
        raise InvalidArgumentError(f"{path}: is no notebook: {error}") from error
    results = nbformat.v4.new_markdown_cell(results_text(research), id=f"{_CELL}results")
    places = [i for i, cell in enumerate(notebook.cells) if cell.get("id") == results["id"]]
    if places:
        notebook.cells[places[0]] = results
    else:
        notebook.cells.append(results)
    return notebook


def run_notebook(notebook: Any, folder: Path) -> None:
    """Run a notebook from top to bottom in a folder; its outputs are in it afterwards.

    Raises:
        InvalidArgumentError: if a cell fails, or a package is missing.
    """
    try:
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError as error:
        raise InvalidArgumentError(f"running a notebook needs nbclient: {_NEEDS}") from error
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise InvalidArgumentError(f"a cell of the notebook failed:\n{error}") from error
    # When it ran is no result, and makes files differ that say the same.
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def _write_notebook(notebook: Any, path: Path) -> None:
    nbformat = _nbformat()
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _nbformat() -> Any:
    try:
        import nbformat
    except ImportError as error:
        raise InvalidArgumentError(f"notebooks need nbformat: {_NEEDS}") from error
    return nbformat


_DIGITS = re.compile(r"\d")
_CLAIMS = re.compile(
    r"\b(support\w*|refut\w*|prov(e|es|ed|en)|show(s|n|ed)?|confirm\w*|demonstrat\w*|significan\w*)\b",
    re.IGNORECASE,
)
_MOST_WORDS = 150


def refined(design: Design, model: Any, name: str) -> tuple[str, str | None]:
    """The reasons of a design in a language model's words.

    It is given the question and our reasons, and writes nothing else: neither hypotheses nor
    numbers come from it. What has digits or says what results show is not taken.

    Args:
        design: whose `why` is rewritten.
        model: a chat model of LangChain.
        name: of the model.

    Returns:
        The words, and why the model's were not taken (`None` if they were).
    """
    prompt = (
        "Rewrite the reasons for a study in two to four plain sentences for the person who asked "
        "it. Use no digits. Say nothing of results, which do not exist yet.\n\n"
        f"Asked: {design.asked}\nQuestion: {design.title}\nReasons: {design.why}"
    )
    try:
        text = " ".join(str(model.invoke(prompt).content).split())
    # Each provider has its own errors for what can go wrong on the way.
    except Exception as error:
        raise InvalidArgumentError(f"llm {name} gave no answer: {error}") from error
    if not text or len(text.split()) > _MOST_WORDS:
        return design.why, "it is empty or too long"
    if _DIGITS.search(text) or _CLAIMS.search(text):
        return design.why, "it has numbers or claims of its own"
    return text, None


def design_mapping(design: Design) -> Mapping[str, Any]:
    """A design for programs, with the study's file."""
    return {**design.to_json(), "power": design.power, "study": STUDY_YAML}
