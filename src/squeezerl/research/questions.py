"""The questions that a study can be designed for, and which of them a free question is like."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import yaml

from squeezerl.analysis import cell_statistics
from squeezerl.analysis.cell_statistics import CellValues, trained_agents
from squeezerl.analysis.cells import cells
from squeezerl.analysis.effects import CellEffect, Rule, Variation
from squeezerl.analysis.frames import StudyData
from squeezerl.errors import InvalidArgumentError, did_you_mean

_NEAR = 3
_SEED = 0  # of the resampling that decides which baselines count as trained


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A claim that results can support or refute.

    Args:
        claim: about the agents of the study.
        statistic: "retention", "spread", "convergence", "robustness", "latency" or "energy".
        methods: whose effect it is, as results name them.
        against: methods that they are held against; the float policy where there are none.
        rule: of the verdict.
    """

    claim: str
    statistic: str
    methods: tuple[str, ...]
    against: tuple[str, ...]
    rule: Rule

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Hypothesis:
        """From what `to_json` made of it, or from the questions' file."""
        rule = raw.get("rule", raw)
        return Hypothesis(
            claim=raw["claim"],
            statistic=raw["statistic"],
            methods=tuple(raw["methods"]),
            against=tuple(raw.get("against", ())),
            rule=Rule(
                above=rule.get("above", True),
                **{name: float(rule[name]) for name in ("bound", "refuted", "effect")},
            ),
        )

    def show(self, value: float) -> str:
        """An effect in words: points for differences, else a share or how many times."""
        if STATISTICS[self.statistic][1]:
            return f"{math.exp(value):.2f}"
        return f"{100 * value:.1f} {'points' if self.against else '%'}"

    @property
    def says(self) -> str:
        """What its effect is."""
        what = STATISTICS[self.statistic][0]
        ours, theirs = (", ".join(names) for names in (self.methods, self.against))
        return f"{what}, of {ours}" + (f" less that of {theirs}" if theirs else "")

    def values(self, data: StudyData, agents: Collection[str]) -> list[CellValues]:
        """The values of its statistic in each of these cells; none for costs."""
        match self.statistic:
            case "retention":
                return cell_statistics.retention(data, agents, self.methods, self.against)
            case "spread":
                return cell_statistics.spread(data, agents, self.methods)
            case "convergence":
                return cell_statistics.convergence(data, agents, self.methods)
            case "robustness":
                return cell_statistics.robustness(data, agents, self.methods)
        return []

    def effects(self, data: StudyData, agents: Collection[str]) -> list[CellEffect]:
        """Its effect in each of these cells that has one."""
        if self.is_cost:
            return cell_statistics.costs(data, agents, self.methods, self.statistic)
        return [one.effect for one in self.values(data, agents) if one.effect is not None]

    @property
    def is_cost(self) -> bool:
        """Whether it is about measurements, not about returns."""
        return self.statistic in ("latency", "energy")


# What each effect is, and whether it is the logarithm of a ratio.
STATISTICS = {
    "retention": ("retention, as a share of the float policy's return above random", False),
    "spread": ("standard deviation of the return over trainings, times float's", True),
    "convergence": ("steps to converge, times float's", True),
    "robustness": ("standard deviation of the retention over settings", False),
    "latency": ("times faster than the float policy", True),
    "energy": ("times less energy than the float policy", True),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, and the study that answers it.

    Args:
        id: its name in commands.
        kind: "question" of the five that the published study raises, or "idea" to go on from it.
        title: the question.
        asked: other words for it.
        why: what is behind it.
        hypotheses: all must be supported, and one that is refuted refutes.
        methods: as a study's file lists them.
        agents: what is compressed unless agents are given; empty if they are trained.
        train: a grid of trainings, as in a study's file.
        trains: whether the question is about training, so that no existing agents will do.
        settings: hyperparameters by name, each a grid of trainings of its own.
        measure: as in a study's file.
        missing: what is not available.
        stands_in: what is done instead.
        threats: to the validity of what is found.
    """

    id: str
    kind: str
    title: str
    asked: tuple[str, ...]
    why: str
    hypotheses: tuple[Hypothesis, ...]
    methods: tuple[Any, ...]
    agents: tuple[str, ...] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measure: Mapping[str, Any] | None = None
    missing: str = ""
    stands_in: str = ""
    threats: tuple[str, ...] = ()

    @property
    def needs(self) -> str:
        """What a study of it needs, in a few words."""
        if not self.train:
            return f"agents (default {', '.join(self.agents)})"
        grid = f"{', '.join(self.train['algorithms'])} on {', '.join(self.train['environments'])}"
        return f"trainings of {grid}" + ("" if self.trains else ", or agents")


def trained_in(data: StudyData) -> list[str]:
    """The agents of a study whose baselines count as trained."""
    return trained_agents(cells(data, np.random.default_rng(_SEED)))


@functools.cache
def load_questions() -> tuple[Question, ...]:
    """All questions: the five first, then the ideas."""
    text = resources.files(__package__).joinpath("questions.yaml").read_text(encoding="utf-8")
    questions: list[dict[str, Any]] = yaml.safe_load(text)
    for raw in questions:
        raw |= {
            name: tuple(raw.get(name, ())) for name in ("asked", "methods", "agents", "threats")
        }
        raw["hypotheses"] = tuple(Hypothesis.from_json(one) for one in raw["hypotheses"])
    return tuple(Question(**raw) for raw in questions)


def find_questions(text: str, embeddings: str | None = None) -> list[Question]:
    """The questions that a text names or is like, best first.

    Args:
        text: the id of a question, which gives this one alone, or a question in any words.
        embeddings: see `squeezerl.assistant.embeddings.find_embeddings`.

    Raises:
        InvalidArgumentError: if the text is like none of them.
    """
    questions = {question.id: question for question in load_questions()}
    if text in questions:
        return [questions[text]]
    hint = "squeezerl research list shows all questions"
    if " " not in text.strip():
        raise InvalidArgumentError(
            f"unknown question {text!r}{did_you_mean(text, questions) or ';'} {hint}"
        )
    from squeezerl.assistant.embeddings import find_embeddings
    from squeezerl.assistant.index import Index, cache_folder, words
    from squeezerl.assistant.passage import Passage

    passages = [
        Passage(
            id=f"question:{one.id}",
            title=one.title,
            text="\n\n".join([one.id, *one.asked, one.why, *(h.claim for h in one.hypotheses)]),
            source=one.id,
            kind="docs",
        )
        for one in questions.values()
    ]
    index = Index(passages, find_embeddings(embeddings), cache=cache_folder())
    found = index.search(text, _NEAR)
    common = set(words(text)) & {word for one in found for word in words(one.whole)}
    if not common:
        raise InvalidArgumentError(f"no question here is like {text!r}; {hint}")
    return [questions[one.source] for one in found]


def packaged_variations(hypothesis: Hypothesis) -> tuple[Variation, str] | None:
    """How the values of a hypothesis vary by packaged results, and where that is from.

    Methods that were not measured count as the one that varies most. A difference counts as one of
    independent values, which asks for more than is needed where they are alike.
    """
    found = _packaged()
    if hypothesis.statistic == "robustness":
        # Over settings, the deviation of the means is at most about that of one mean.
        found = {"robustness": found["retention"]}
    table = found.get(hypothesis.statistic)
    if table is None:
        return None

    def one(methods: tuple[str, ...]) -> tuple[Variation, str]:
        names = {method: _known(method, table) for method in methods}
        each = [table[name] for name in names.values()]
        return (
            Variation(
                trainings=max(entry["trainings_sd"] for entry in each),
                episodes=max(entry["episodes_sd"] for entry in each),
            ),
            "; ".join(
                f"{method}{'' if name == method else f' as {name}'}: {table[name]['source']}"
                for method, name in names.items()
            ),
        )

    variation, source = one(hypothesis.methods)
    if hypothesis.against:
        other, more = one(hypothesis.against)
        variation, source = variation + other, f"{source}; {more}"
    if hypothesis.statistic == "robustness":
        variation = Variation(trainings=variation.trainings, episodes=0.0)
    return variation, source


def _known(method: str, table: Mapping[str, Any]) -> str:
    """The method, or the one that varies most between episodes."""
    if method in table:
        return method
    return max(table, key=lambda name: table[name]["episodes_sd"] + table[name]["trainings_sd"])


@functools.cache
def _packaged() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("variances.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def question_by_id(name: str) -> Question:
    """A question by its id.

    Raises:
        InvalidArgumentError: if there is none.
    """
    for question in load_questions():
        if question.id == name:
            return question
    raise InvalidArgumentError(
        f"unknown question {name!r}; squeezerl research list shows all questions"
    )
