"""An answer: figures that were computed, and the passages that it rests on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezerl.assistant.documents import docs_passages, read_file
from squeezerl.assistant.embeddings import find_embeddings
from squeezerl.assistant.figures import Figures
from squeezerl.assistant.index import Index, cache_folder
from squeezerl.assistant.paper import paper_passages
from squeezerl.assistant.passage import Passage
from squeezerl.assistant.questions import (
    computed,
    find_algorithms,
    find_environments,
    likely_kinds,
)
from squeezerl.assistant.registered import registered_passages
from squeezerl.assistant.results import Results
from squeezerl.assistant.results_passages import results_passages
from squeezerl.errors import InvalidArgumentError
from squeezerl.records import to_json

NOT_THERE = "This is not in the sources."
_SHOWN = 5
# The assistant's own page has questions as examples, which are like the user's and no answers.
_OWN_PAGE, _EXAMPLE = "docs/assistant.md", 0.3
_ITSELF = re.compile(r"\b(assistant|ask|llm|language models?|ollama|embeddings?|chat)\b")
_LIKELY = 1.6  # how much more a passage counts that is of the kind which is asked about


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What is known about a question.

    Args:
        question: as it was asked.
        figures: computed tables, which the text cites as [F1], [F2], ...
        passages: which the text cites as [1], [2], ..., best first.
        text: what a language model wrote; `None` without one.
        model: its name.
        problems: what was taken out of its text, and why.
    """

    question: str
    figures: tuple[Figures, ...]
    passages: tuple[Passage, ...]
    text: str | None = None
    model: str | None = None
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "question": self.question,
            "answer": self.text,
            "model": self.model,
            "problems": list(self.problems),
            "figures": [
                {"title": one.title, "note": one.note, "columns": list(one.columns),
                 "rows": one.records}
                for one in self.figures
            ],
            "passages": [to_json(passage) for passage in self.passages],
        }  # fmt: skip


class Assistant:
    """Answers questions; the passages are read and indexed once.

    Args:
        results: of the user, from `read_results` or `results_of`.
        add: files of the user: PDF, Markdown, text, notebooks.
        embeddings: see `find_embeddings`.
        cache: the folder for what takes long; unless given, the user's cache.
        on_progress: called with the share of the index that is there.

    Raises:
        SqueezeRLError: if something of this cannot be read.
    """

    def __init__(
        self,
        results: Results | None = None,
        *,
        add: Sequence[Path] = (),
        embeddings: str | None = None,
        cache: Path | None = None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        self.results = results
        passages = [*paper_passages(), *docs_passages(), *registered_passages()]
        if results is not None:
            passages += results_passages(results)
        for path in add:
            found = read_file(path)
            if not found:
                raise InvalidArgumentError(f"{path}: there is no text in it")
            passages += found
        self.index = Index(
            passages,
            find_embeddings(embeddings),
            cache=cache or cache_folder(),
            on_progress=on_progress,
        )

    def ask(self, question: str, *, count: int = _SHOWN) -> Answer:
        """The figures that a question asks for and the passages that fit it best."""
        if not question.strip():
            raise InvalidArgumentError("the question is empty")
        figures = computed(question, self.results)
        return Answer(
            question=question,
            figures=() if figures is None else (figures,),
            passages=tuple(self.index.search(question, count, self._weights(question))),
        )

    def _weights(self, question: str) -> list[float]:
        """What the wording says of where the answer stands."""
        text = question.lower()
        likely = likely_kinds(text, self.results)
        rows = set(self._named(text))
        itself = bool(_ITSELF.search(text))
        return [
            0.0
            if passage.about is not None and passage.about not in rows
            else _EXAMPLE
            if passage.id.startswith(_OWN_PAGE) and not itself
            else _LIKELY
            if passage.kind in likely
            else 1.0
            for passage in self.index.passages
        ]

    def _named(self, text: str) -> Iterator[tuple[str, str]]:
        """Which rows of tables a question names, by algorithm and environment."""
        rows = {passage.about for passage in self.index.passages if passage.about is not None}
        environments = find_environments(text, {env_id for _, env_id in rows})
        algorithms = find_algorithms(text, {algorithm for algorithm, _ in rows})
        for algorithm, env_id in rows:
            fits = env_id in environments if environments else bool(algorithms)
            if fits and (not algorithms or algorithm in algorithms):
                yield algorithm, env_id
