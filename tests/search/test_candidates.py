from __future__ import annotations

import pytest

from squeezerl.methods.specs import (
    DynamicQuantization,
    StaticQuantization,
    StructuredPruning,
)
from squeezerl.search.candidates import BASELINE, Candidate, study_candidates

PERCENTAGES = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70]


def test_the_study_has_thirty_candidates() -> None:
    names = [candidate.name for candidate in study_candidates()]
    pruned = [f"{norm}-{percentage}" for norm in ("l1", "l2") for percentage in PERCENTAGES]
    assert names == ["ptdq", "ptsq", *pruned]


@pytest.mark.parametrize(
    ("candidate", "specs"),
    [
        (BASELINE, ()),
        (Candidate("ptdq", None), (DynamicQuantization(),)),
        (Candidate("ptsq", None), (StaticQuantization(),)),
        (Candidate("l1", 0.35), (StructuredPruning(norm="l1", ratio=0.35),)),
        (Candidate("l2", 0.7), (StructuredPruning(norm="l2", ratio=0.7),)),
    ],
)
def test_a_candidate_says_how_to_compress(candidate: Candidate, specs: tuple[object, ...]) -> None:
    assert candidate.specs == specs
