"""`squeezerl research`: a question becomes a study, and its results a verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squeezerl.cli import console
from squeezerl.cli.study import run_file
from squeezerl.cli.study_text import duration
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import to_json

if TYPE_CHECKING:
    from squeezerl.research.design import Design

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a design.")]

research = typer.Typer(
    name="research",
    help="Turn a question into a study with hypotheses, run it, and write what it found.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@research.command("list")
@console.reports_errors
def list_(as_json: console.JsonOption = False) -> None:
    """Show the questions and ideas, and what each needs here.

    Example: squeezerl research list
    """
    from squeezerl.research.questions import load_questions

    questions = load_questions()
    if as_json:
        console.print_json(
            {
                "questions": [
                    {
                        "id": one.id,
                        "kind": one.kind,
                        "title": one.title,
                        "hypotheses": [to_json(hypothesis) for hypothesis in one.hypotheses],
                        "needs": one.needs,
                        "missing": one.missing or None,
                        "stands_in": one.stands_in or None,
                    }
                    for one in questions
                ]
            }
        )
        return
    for kind, title in (("question", "Questions"), ("idea", "Ideas to go on with")):
        console.say(f"{title}\n")
        for one in (one for one in questions if one.kind == kind):
            console.say(f"{one.id}: {one.title}")
            console.say(f"    needs {one.needs}")
            if one.missing:
                console.say(f"    {one.missing}")
                console.say(f"    Instead: {one.stands_in}")
        console.say()
    console.say('Next: squeezerl research design ID|"a question in your words" -o DIR')


@research.command(no_args_is_help=True)
@console.reports_errors
def design(
    question: Annotated[
        str,
        typer.Argument(metavar="QUESTION", help="The id of a question, or one in your own words."),
    ],
    output: console.OutputOption,
    agents: Annotated[
        list[str] | None,
        typer.Option(metavar="AGENT", help="An agent to compress; repeat for more."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENV",
            help="Train in this environment (repeat for more), or let the agents play in it.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each training.")] = None,
    hours: Annotated[
        float | None, typer.Option(help="Hours that the study may take on this host.")
    ] = None,
    trainings: Annotated[
        int | None,
        typer.Option(help="Trainings of each agent. [dim]default: as the power asks for[/dim]"),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(help="Episodes of each policy. [dim]default: as the power asks for[/dim]"),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|STUDY.yaml|DIR",
            help="A study or design that was run: how much its returns vary, and how long its jobs "
            "took, goes before what is packaged.",
        ),
    ] = None,
    watts_per_core: console.WattsOption = None,
    llm: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A language model for the words of the reasons, PROVIDER:MODEL. It never touches "
            "hypotheses or numbers.",
        ),
    ] = "none",
    embeddings: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As in squeezerl ask: minilm, none, PROVIDER:MODEL."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the design at DIR.")] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Design a study that answers a question: study.yaml, PLAN.md and a notebook.

    A power calculation says how many episodes and trainings it takes to see the effect that would
    matter, and the study's estimator what that costs here.

    Example: squeezerl research design "Does L2 pruning beat L1?" --agents ppo/Hopper-v3_1 -o l2
    """
    from squeezerl.research.design import Wish, make_design
    from squeezerl.research.questions import find_questions
    from squeezerl.research.writing import (
        design_mapping,
        new_design_folder,
        refined,
        write_folder,
    )

    for name, value in (("steps", steps), ("trainings", trainings), ("episodes", episodes)):
        if value is not None and value < 1:
            raise InvalidArgumentError(f"`{name}` must be at least 1, not {value}")
    if hours is not None and not hours > 0:
        raise InvalidArgumentError(f"`hours` must be above 0, not {hours:g}")
    model = None
    if llm != "none":
        from squeezerl.assistant.writing import find_model

        model = find_model(llm)
    found = find_questions(question, embeddings)
    wish = Wish(
        agents=tuple(agents or ()),
        env=tuple(env or ()),
        steps=steps,
        hours=hours,
        trainings=trainings,
        episodes=episodes,
        watts_per_core=watts_per_core,
    )
    results = None if pilot is None else _pilot(pilot)
    with new_design_folder(output, force=force) as work:
        made = make_design(
            found[0],
            work,
            asked="" if question == found[0].id else question,
            near=[one.id for one in found[1:]],
            wish=wish,
            pilot=results,
            at=output,
        )
        refused = None
        if model is not None:
            words, refused = refined(made, model, llm)
            made = dataclasses.replace(made, why=words, words_by=None if refused else llm)
        write_folder(made, output, work)
    if refused:
        console.err.print(f"The words of {llm} were not taken: {refused}.", markup=False)
    if as_json:
        console.print_json({"folder": str(output), **design_mapping(made)})
        return
    _say_design(made, output)


@research.command(no_args_is_help=True)
@console.reports_errors
def run(
    folder: FolderArgument,
    workers: Annotated[
        int | None,
        typer.Option(help="How many jobs run side by side. [dim]default: one per core[/dim]"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also repeat jobs that failed before.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Run the study of a design, or what is left of it; squeezerl study does the work.

    Example: squeezerl research run l2
    """
    from squeezerl.research.design import STUDY_YAML
    from squeezerl.research.outcome import read_design, store_url

    read_design(folder)
    run_file(
        folder / STUDY_YAML,
        workers=workers,
        store=store_url(folder),
        retry_failed=retry_failed,
        as_json=as_json,
    )
    if not as_json:
        console.say(f"Next: squeezerl research write {folder}")


@research.command(no_args_is_help=True)
@console.reports_errors
def write(
    folder: FolderArgument,
    execute: Annotated[
        bool,
        typer.Option("--execute", help="Also run the notebook, with the cells that you added."),
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Write what the study found into PLAN.md and the notebook, and no more than the verdict says.

    Example: squeezerl research write l2 --execute
    """
    from squeezerl.research.outcome import open_research
    from squeezerl.research.writing import NOTEBOOK, PLAN, write_results

    opened = open_research(folder)
    write_results(opened, execute=execute)
    if as_json:
        console.print_json(
            {
                "folder": str(folder),
                "question": opened.design.question,
                "verdict": opened.verdict,
                "conclusion": opened.state,
                "basis": opened.basis,
                "findings": to_json(opened.findings),
            }
        )
        return
    console.say(opened.state)
    for finding in opened.findings:
        console.say(f"{finding.part} {finding.verdict}: {finding.evidence}")
    console.say(f"{folder / PLAN}; {folder / NOTEBOOK}")


def _pilot(text: str) -> tuple[Any, str]:
    """The results of a study, by its name, its file or the folder of a design, and its store."""
    from squeezerl.research.design import STUDY_YAML
    from squeezerl.research.outcome import store_url
    from squeezerl.studies.results import load_study
    from squeezerl.studies.run import find_study, open_existing

    folder = Path(text)
    if folder.is_dir():
        name, url = find_study(str(folder / STUDY_YAML), store_url(folder))
    else:
        name, url = find_study(text)
    with open_existing(url) as opened:
        data = load_study(opened, name)
    if data.returns.empty:
        raise InvalidArgumentError(f"`pilot` {text}: no evaluation is done yet")
    return data, url


def _say_design(made: Design, folder: Path) -> None:
    console.say(f"{made.question}: {made.title}")
    if made.near:
        console.say(f"also near: {', '.join(made.near)}")
    for number, one in enumerate(made.tested):
        power = "unknown before measuring" if one.power is None else f"{one.power:.0%}"
        console.say(f"{'abcdef'[number]}: {one.hypothesis.claim} Power: {power}.")
    agents = f"{len(made.agents)} {'agent' if len(made.agents) == 1 else 'agents'}"
    trainings = "" if made.trainings == 1 else f"{made.trainings} trainings each, "
    console.say(
        f"{agents}, {trainings}{made.episodes} episodes of each policy, "
        f"{made.costs.jobs} jobs, about {duration(3600 * made.costs.hours)}, "
        f"{made.costs.energy_j / 1000:.3g} kJ"
    )
    for line in made.missing:
        console.say(f"not available: {line}")
    console.say(f"{folder / 'PLAN.md'}; next: squeezerl research run {folder}")
