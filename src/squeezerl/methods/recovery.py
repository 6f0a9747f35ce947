"""Recovery: a compressed network learns to act as the agent does again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from squeezerl.errors import SpecError
from squeezerl.methods.base import ExpectedLayer, Given, Need, Spec, register_spec
from squeezerl.methods.imitation import STEPS_PER_SECOND, Lesson, check_given, imitate
from squeezerl.network.network import Network
from squeezerl.records import MethodRecord


@final
@register_spec
@dataclass(frozen=True, kw_only=True)
class Recovery(Spec):
    """Imitate the agent in the states that the compressed policy visits (DAgger, arXiv 1011.0686).

    A quantized network learns in the integers that it has, by straight-through estimates. If no
    snapshot plays better than the network did before, that one is kept. Without an environment it
    learns on the observations that are given, and the last fifth of them chooses the snapshot.

    Args:
        steps: of learning, with 512 states each. "30s" and "2m" stand for 1,000 steps a second.
        rate: Adam's rate at first; it falls to 0 along a cosine.
        teacher: "before" imitates the policy as the last step that learned left it, which a policy
            that lost a few neurons since can follow more closely than the agent.
        sparse: the weight of the study's sparse training (arXiv 2407.04803): neurons that weigh
            little are drawn to 0 meanwhile, for a step of pruning that follows.
        alpha: how much more than those that weigh most, as an exponent of 2.
    """

    kind = "recover"
    positional = ("steps",)
    rates: ClassVar = {"steps": STEPS_PER_SECOND}
    needs: ClassVar[frozenset[Need]] = frozenset({"visits"})
    takes_integers = True

    steps: int = 20_000
    rate: float = 1e-3
    teacher: Literal["agent", "before"] = "agent"
    sparse: float = 0.0
    alpha: float = 4.0

    def __post_init__(self) -> None:
        check_lesson(self.steps, self.rate)
        for name in ("sparse", "alpha"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SpecError(f"{name} must be at least 0, not {getattr(self, name)}")

    @property
    def record(self) -> MethodRecord:
        """See `Spec`."""
        return MethodRecord(
            name="recover",
            label="recovery",
            short="recovery",
            group="recovery",
            color="#0072B2",
            marker="P",
        )

    @property
    def named_fields(self) -> tuple[str, ...]:
        """See `Spec`."""
        return ()

    def apply(self, network: Network, given: Given) -> Network:
        """See `Spec`."""
        check_given(self, given)
        if self.teacher == "before":
            given = dataclasses.replace(given, teacher=given.before)
        lesson = Lesson(steps=self.steps, rate=self.rate, sparse=self.sparse, alpha=self.alpha)
        return imitate(network, given, lesson, also=[network])

    def expect(self, layers: Sequence[ExpectedLayer]) -> list[ExpectedLayer]:
        """See `Spec`."""
        return list(layers)


def check_lesson(steps: int, rate: float) -> None:
    """Raise a `SpecError` if a number is out of range."""
    if steps < 1:
        raise SpecError(f"steps of learning must be at least 1, not {steps}")
    if not 0 < rate <= 1:
        raise SpecError(f"the rate of learning must be above 0 and at most 1, not {rate}")
