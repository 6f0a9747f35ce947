"""Research: a question becomes a study with hypotheses, its results become verdicts."""

from squeezerl.research.outcome import Research, open_research

__all__ = ["Research", "open_research"]
