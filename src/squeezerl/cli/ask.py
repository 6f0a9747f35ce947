"""`squeezerl ask`: questions about the study, this library and your own results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from squeezerl.cli import console
from squeezerl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from squeezerl.assistant.answer import Answer

_BESIDE_FIGURES = 2  # passages that are quoted below a table which answers already


@console.reports_errors
def ask(
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="In your own words.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|REPORT_DIR",
            help="Results to ask about: a study's name or file, the folder of its report, or the "
            "folder of a squeeze.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The study's store. [dim]default: sqlite:///NAME.db[/dim]"
        ),
    ] = None,
    llm: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A language model that writes the answer: none, or PROVIDER:MODEL of LangChain, "
            "for example ollama:llama3.1 or openai:gpt-4o-mini. It is sent the passages.",
        ),
    ] = "none",
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Let the language model draw, into this folder."),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A PDF, Markdown, text or notebook of yours to search as well; repeat for more.",
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="minilm, none, or PROVIDER:MODEL of LangChain. "
            "[dim]default: minilm if it is installed[/dim]",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Go on asking until an empty line or Ctrl-D.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Answer a question from the paper, the documentation and your own results.

    Figures are computed from the results, and passages are quoted with where they stand. A
    language model can write the answer; each of its sentences cites a source.

    Example: squeezerl ask "What did PTDQ keep on HalfCheetah?" --study results/paper/compressed
    """
    if not (question or "").strip() and not chat:
        raise InvalidArgumentError('give a question, for example "What is PTDQ?", or --chat')
    if chat and as_json:
        raise InvalidArgumentError("--chat answers people; leave out --json")
    if plots is not None and llm == "none":
        raise InvalidArgumentError("--plots is for a language model: name one with --llm")
    from squeezerl.assistant.answer import Assistant
    from squeezerl.assistant.index import cache_folder
    from squeezerl.assistant.results import read_results

    model = None
    if llm != "none":
        from squeezerl.assistant.writing import Writer, find_model

        model = find_model(llm)
    with console.progress_bar("reading") as update:
        update("reading", 0.0)
        results = None
        if study is not None:
            results = read_results(study, store=store, cache=cache_folder())
        assistant = Assistant(
            results,
            add=add or (),
            embeddings=embeddings,
            on_progress=lambda fraction: update("indexing", fraction),
        )
    writer = None if model is None else Writer(assistant, model, llm, plots=plots)
    asked = question or _next_question()
    earlier: list[Answer] = []
    while asked is not None:
        answer = assistant.ask(asked) if writer is None else writer.ask(asked, earlier)
        earlier.append(answer)
        if as_json:
            console.print_json(answer.to_json())
        else:
            _show(answer)
        asked = _next_question() if chat else None


def _next_question() -> str | None:
    try:
        return console.err.input("\n> ").strip() or None
    except EOFError:
        return None


def _show(answer: Answer) -> None:
    from squeezerl.assistant.index import best_chunk
    from squeezerl.report.document import plain

    if answer.text is not None:
        console.say(answer.text)
        for problem in answer.problems:
            console.err.print(problem, style="yellow", markup=False, highlight=False)
        console.say()
    for number, figures in enumerate(answer.figures, 1):
        table = figures.table
        console.say(f"[F{number}] {table.title}")
        console.print_table(table.header, table.plain_rows, left=table.left)
        console.say(plain(table.note))
        console.say()
    few = bool(answer.figures) and answer.text is None
    shown = answer.passages[:_BESIDE_FIGURES] if few else answer.passages
    for number, passage in enumerate(shown, 1):
        console.say(f"[{number}] {passage.title}")
        for line in best_chunk(passage, answer.question).strip().splitlines():
            console.say(f"    {line}")
        console.say(f"    -- {passage.source}")
    if not answer.passages:
        console.say("Nothing in the sources fits this question.")
