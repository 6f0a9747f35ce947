"""The candidates that the squeeze tries: the study's methods (arXiv 2407.04803)."""

from __future__ import annotations

from dataclasses import dataclass

from squeezerl.methods.specs import Spec, specs_for

PRUNING_PERCENTAGES = tuple(range(5, 75, 5))


@dataclass(frozen=True)
class Candidate:
    """A named way to compress; `ratio` is the share of neurons removed, `None` if none are."""

    method: str
    ratio: float | None

    @property
    def name(self) -> str:
        """For example "ptdq" or "l2-30"."""
        return self.method if self.ratio is None else f"{self.method}-{self.ratio * 100:.0f}"

    @property
    def specs(self) -> tuple[Spec, ...]:
        """What `compress` takes."""
        return specs_for(self.method, self.ratio)


BASELINE = Candidate("float", None)


def study_candidates() -> tuple[Candidate, ...]:
    """PTDQ, PTSQ, and L1 and L2 pruning at 5, 10, ... 70 %."""
    return (
        Candidate("ptdq", None),
        Candidate("ptsq", None),
        *(Candidate(norm, p / 100) for norm in ("l1", "l2") for p in PRUNING_PERCENTAGES),
    )
