"""What a study of a question found: each hypothesis with its effect, interval and verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from squeezerl.analysis.bootstrap import CONFIDENCE
from squeezerl.analysis.cells import cells
from squeezerl.analysis.effects import CellEffect, mean_effect
from squeezerl.analysis.finding import REFUTED, SUPPORTED, UNDECIDED, Finding, overall
from squeezerl.analysis.frames import StudyData
from squeezerl.analysis.study_analysis import training_basis
from squeezerl.errors import InvalidArgumentError
from squeezerl.research.design import STORE, STUDY_YAML, Design
from squeezerl.research.questions import Hypothesis, trained_in
from squeezerl.studies.results import load_study
from squeezerl.studies.run import find_study, open_existing

if TYPE_CHECKING:
    import pandas as pd

DESIGN_JSON = "design.json"
_SEED = 0  # of the resampling


def judge(design: Design, data: StudyData) -> tuple[Finding, ...]:
    """The verdict of each hypothesis of a design, from the results of its study.

    Cells whose baseline does not count as trained are left out. All hypotheses must be supported
    for an answer, each at its own 95 %; one that is refuted refutes, so that refuting takes the
    intervals of Bonferroni.
    """
    trained = trained_in(data)
    found = []
    for number, tested in enumerate(design.tested):
        hypothesis = tested.hypothesis
        effects = hypothesis.effects(data, trained)
        interval = mean_effect(effects)
        strict = mean_effect(effects, 1 - (1 - CONFIDENCE) / len(design.tested))
        found.append(
            Finding(
                number=1,
                part="abcdef"[number],
                claim=hypothesis.claim,
                hypothesis=rule_text(hypothesis),
                statistic=hypothesis.says,
                estimate=interval,
                verdict=hypothesis.rule.verdict(interval, strict),
                evidence=_evidence(hypothesis, effects, len(trained), len(design.agents)),
                cells=len(effects),
            )
        )
    return tuple(found)


def rule_text(hypothesis: Hypothesis) -> str:
    """When the hypothesis is supported, and when it is refuted."""
    rule, show = hypothesis.rule, hypothesis.show
    right, wrong = ("above", "below") if rule.above else ("below", "above")
    if rule.bound == rule.refuted:
        bound = show(rule.bound)
        return (
            f"Supported if the 95 % interval is {right} {bound}, refuted if it is {wrong}, else "
            "undecided."
        )
    return (
        f"Refuted if the 95 % interval is {wrong} {show(rule.refuted)}, the least that would "
        f"matter; else supported if it is {right} {show(rule.bound)}; else undecided."
    )


def conclusion(design: Design, findings: tuple[Finding, ...]) -> str:
    """What the verdict carries, and no more."""
    verdict = overall(one.verdict for one in findings)
    who = f"these {len(design.agents)} agents" if len(design.agents) > 1 else "this one agent"
    if verdict == SUPPORTED:
        answer = f"Supported, for {who}: " + " ".join(one.claim for one in findings)
    elif verdict == REFUTED:
        refuted = " ".join(
            _ruled_out(tested.hypothesis)
            for tested, one in zip(design.tested, findings, strict=True)
            if one.verdict == REFUTED
        )
        answer = f"Refuted, for {who}. {refuted}"
    else:
        left = ", ".join(one.part for one in findings if one.verdict == UNDECIDED)
        answer = (
            f"Undecided, for {who}: the results neither support nor refute "
            + (f"hypothesis {left}" if len(findings) > 1 else "the hypothesis")
            + ", so this study gives no answer."
        )
    once = design.trainings == 1 and design.power is not None
    return answer + (" Nothing is said about other trainings." if once else "")


def _ruled_out(hypothesis: Hypothesis) -> str:
    """What a refutation says; it says nothing of effects smaller than what matters."""
    rule, show = hypothesis.rule, hypothesis.show
    if rule.bound == rule.refuted:
        side = "below" if rule.above else "above"
        bound = show(rule.bound)
        return f"The effect is {side} {bound}, so this does not hold: {hypothesis.claim}"
    return (
        f"An effect of {show(rule.refuted)}, the least that would matter, is ruled out for this: "
        f"{hypothesis.claim} A smaller one is not."
    )


def _evidence(hypothesis: Hypothesis, effects: list[CellEffect], trained: int, planned: int) -> str:
    if not effects:
        return f"There is nothing to compute it from: {trained} of {planned} agents are trained."
    interval = mean_effect(effects)
    assert interval is not None
    show = hypothesis.show
    over = ", ".join(sorted({effect.over for effect in effects}))
    several = "cell" if len(effects) == 1 else "cells"
    return (
        f"{show(interval.estimate)} [{show(interval.low)}, {show(interval.high)}], the mean over "
        f"{len(effects)} {several}, interval over {over}."
    )


@dataclass(frozen=True, eq=False)
class Research:
    """A design and what its study has found so far.

    Args:
        folder: of the design.
        design: as it was written.
        data: the study's results; `None` before anything is done.
        open_jobs: how many jobs can still run.
        failed_jobs: how many failed, or need one that did.
    """

    folder: Path
    design: Design
    data: StudyData | None = None
    open_jobs: int = 0
    failed_jobs: int = 0

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Each hypothesis with its verdict; none before the study is complete."""
        if self.data is None or self.open_jobs:
            return ()
        return judge(self.design, self.data)

    @property
    def verdict(self) -> str:
        """The verdict of all hypotheses together."""
        return overall(one.verdict for one in self.findings) if self.findings else UNDECIDED

    @property
    def state(self) -> str:
        """How far it is, in a sentence."""
        if self.data is None:
            return f"Nothing has been run yet: squeezerl research run {self.folder}"
        if self.open_jobs:
            return (
                f"{self.open_jobs} jobs are not done yet, and no verdict is given before: "
                f"squeezerl research run {self.folder}"
            )
        failed = f" {self.failed_jobs} jobs failed and are missing." if self.failed_jobs else ""
        return conclusion(self.design, self.findings) + failed

    @property
    def basis(self) -> str:
        """What the verdict rests on: how long agents were trained, and how many count as such."""
        if self.data is None:
            return ""
        return training_basis(self.data, self.cells)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Each policy of the study with return, retention and size; see `analysis.cells`."""
        assert self.data is not None
        return cells(self.data, np.random.default_rng(_SEED))

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The effects, one row per hypothesis and cell: estimate, interval, and over what."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        trained = trained_in(self.data) if self.data is not None and not self.open_jobs else []
        for number, tested in enumerate(self.design.tested):
            if self.data is None:
                break
            for effect in tested.hypothesis.effects(self.data, trained):
                interval = mean_effect([effect])
                assert interval is not None
                rows.append(
                    {
                        "hypothesis": "abcdef"[number],
                        "cell": effect.agent,
                        "estimate": interval.estimate,
                        "low": interval.low,
                        "high": interval.high,
                        "over": effect.over,
                    }
                )
        columns = ["hypothesis", "cell", "estimate", "low", "high", "over"]
        return pd.DataFrame(rows, columns=columns)


def open_research(folder: str | Path = ".") -> Research:
    """A design and the results of its study, as far as it went.

    Raises:
        SqueezeRLError: if the folder has no design, or its store cannot be read.
    """
    folder = Path(folder)
    design = read_design(folder)
    store = folder / STORE
    if not store.is_file():
        return Research(folder, design)
    name, url = find_study(str(folder / STUDY_YAML), store_url(folder))
    with open_existing(url) as opened:
        counts = opened.counts(name)
        data = load_study(opened, name)
    return Research(
        folder,
        design,
        None if data.returns.empty else data,
        open_jobs=counts.open,
        failed_jobs=counts.failed + counts.blocked,
    )


def store_url(folder: Path) -> str:
    """The store of a design's study."""
    return f"sqlite:///{folder / STORE}"


def read_design(folder: Path) -> Design:
    """The design in a folder.

    Raises:
        InvalidArgumentError: if there is none, or it is damaged.
    """
    path = folder / DESIGN_JSON
    try:
        raw: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Design.from_json(raw)
    except FileNotFoundError as error:
        raise InvalidArgumentError(
            f"{folder}: there is no design (no {DESIGN_JSON}); make one with "
            f'squeezerl research design "..." -o {folder}'
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read: {error}") from error
