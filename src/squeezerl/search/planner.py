"""What to learn next: students that grow smaller as long as they keep the return.

A student of each kind learns from the agent; where it keeps the return, narrower ones do, and where
none does, wider ones. The smallest that keeps the return is made smaller in several ways side by
side, each learns on for a short time, and the smallest that still keeps the return is where it goes
on: NetAdapt (Yang et al. 2018, arXiv 1804.03230), with imitation and the reward where that has
supervised fine-tuning.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from squeezerl.methods.base import Spec
from squeezerl.methods.bits import Bits
from squeezerl.methods.distillation import Distillation
from squeezerl.methods.finetuning import FineTuning
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.recovery import Recovery
from squeezerl.search.candidates import Candidate, learning_s, lengthened, resized, without_neurons

# Of the time for learning, all first students together get this share, and what follows a move
# another, but not less than so many seconds.
_START_SHARE, _MOVE_SHARE, _SHORTEST_S = 0.2, 0.025, 4.0
# Of the learning after a move, this share imitates, and the rest is for the reward.
_IMITATING = 0.25
# The few episodes of a glance must show this much more retention than is asked for.
_MARGIN = 0.02
# A move removes one of these shares of the neurons, or a single neuron, or lowers the bits.
_SHARES = (0.35, 0.17)
_FEWER_BITS = {"8": "6", "7": "6", "6": "5", "5": "4", "4": "3", "3": "2"}
# A policy that lacks less than this learns on, at most so many times; a first student, that many
# times whatever it lacks.
_WITHIN_REACH, _REPAIRS, _FIRST_REPAIRS = 0.3, 2, 3
# A line ends if its smallest policy is more than so many times as large as the smallest of all. As
# long as no line keeps the return, one ends if it lags the best by more than this.
_TOO_LARGE, _ABREAST = 2.5, 0.1
# As long as none does, the best first student begins anew, so many times as long, and then wider
# ones, at most so many and each so many times as wide as the one before.
_LONGER, _WIDER, _WIDER_ONES = 3.0, 1.5, 3
# Where a first student keeps the return, one begins that has this share of its width.
_NARROWER = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A candidate that has learned: what it costs and keeps."""

    cost: float
    retention: float


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a student is to meet.

    Args:
        retain: the retention that is asked for.
        most: the highest cost that is allowed; above it everything is made smaller.
        fewer_bits: whether weights of fewer bits cost less.
    """

    retain: float
    most: float = math.inf
    fewer_bits: bool = True

    def is_met(self, seen: Seen) -> bool:
        """Whether to go on from there to something smaller."""
        return seen.retention >= self.retain + _MARGIN or seen.cost > self.most


@dataclass(frozen=True)
class _Line:
    """A first student and all that it has become.

    Args:
        start: how it began.
        learn_s: how long it learns after a move at first.
        tried: in this order; what is not in `seen` is learning, or could not be made.
    """

    start: Candidate
    learn_s: float
    tried: list[Candidate] = field(default_factory=list)

    def best(self, seen: Mapping[Candidate, Seen], demand: Demand) -> Candidate | None:
        """The smallest that keeps the return."""
        met = [c for c in self.tried if c in seen and demand.is_met(seen[c])]
        return min(met, key=lambda candidate: seen[candidate].cost, default=None)

    def standing(self, seen: Mapping[Candidate, Seen], demand: Demand) -> Seen:
        """Of the smallest that keeps the return, or else of what keeps most of it."""
        if (best := self.best(seen, demand)) is not None:
            return seen[best]
        found = [seen[candidate] for candidate in self.tried if candidate in seen]
        nothing = Seen(cost=math.inf, retention=-math.inf)
        return max(found, key=lambda each: each.retention, default=nothing)

    def proposals(
        self, seen: Mapping[Candidate, Seen], demand: Demand, count: int
    ) -> Iterator[Candidate]:
        """What to try next, the most promising first: so many that are new, or fewer."""
        new = (c for c in self._proposals(seen, demand) if not _was_tried(c, self.tried))
        return itertools.islice(new, count)

    def _proposals(self, seen: Mapping[Candidate, Seen], demand: Demand) -> Iterator[Candidate]:
        """Also what was tried; none is there where nothing is possible."""
        best = self.best(seen, demand)
        if (near := self._nearest(seen, demand, best)) is not None:
            seconds = self.learn_s * 2 ** ((1 if best else 2) + _repairs(near))
            yield _extended(near, _tuned(near, seconds))
            if best is None:
                imitating = _imitating(_IMITATING * seconds, "agent")
                yield _extended(near, imitating, _tuned(near, (1 - _IMITATING) * seconds))
        if best is None:
            return
        steps = _smaller(best.recipe, fewer_bits=demand.fewer_bits)
        seconds = self.learn_s
        while steps:
            for step in list(steps):
                imitating = _imitating(_IMITATING * seconds, "before")
                tuned = _tuned(best, (1 - _IMITATING) * seconds)
                move = _extended(best, step, imitating, tuned)
                yield move
                if move in self.tried and move not in seen:
                    steps.remove(step)
            seconds *= 2

    def _nearest(
        self, seen: Mapping[Candidate, Seen], demand: Demand, best: Candidate | None
    ) -> Candidate | None:
        """What keeps most of the return among the smaller ones that may still learn on."""
        near = [candidate for candidate in self.tried if candidate in seen]
        if best is not None:
            near = [
                candidate
                for candidate in near
                if seen[candidate].cost < seen[best].cost
                and seen[candidate].retention >= demand.retain - _WITHIN_REACH
            ]
        most = _REPAIRS if best else _FIRST_REPAIRS
        near = [candidate for candidate in near if _repairs(candidate) < most]
        return max(near, key=lambda candidate: seen[candidate].retention, default=None)


def shrinking(
    starts: Sequence[Recipe],
    tried: Sequence[Candidate],
    learning: Collection[Candidate],
    seen: Mapping[Candidate, Seen],
    demand: Demand,
    *,
    core_s: float,
    workers: int,
) -> Iterator[Candidate]:
    """What to learn next, the most promising first; nothing once nothing is left to try.

    Args:
        starts: recipes of first students; each learns for an equal time.
        tried: what was asked for so far, in this order.
        learning: those of them that still learn.
        seen: what is known of the others; what is missing could not be made.
        demand: what students are to meet.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
    """
    count = max(workers, len(starts))
    each_s = _START_SHARE * core_s / count
    first = [
        Candidate(for_seconds(starts[n % len(starts)], each_s), n // len(starts))
        for n in range(count)
    ]
    yield from (candidate for candidate in first if candidate not in tried)
    if any(candidate in learning for candidate in first):
        return  # they end at about the same time, and only all of them say which are promising
    lines: dict[Candidate, _Line] = {}
    for candidate in tried:
        start = _start_of(candidate)
        line = lines.setdefault(start, _Line(start, max(_SHORTEST_S, _MOVE_SHARE * core_s)))
        line.tried.append(candidate)
    promising = _promising(list(lines.values()), seen, demand)
    queues = [
        [
            _narrower(line.start, each_s)
            for line in promising
            if line.tried == [line.best(seen, demand)]
        ],
        *(line.proposals(seen, demand, workers) for line in promising),
        _anew(promising, seen, demand, each_s, len(lines) - count),
    ]
    asked = {*tried, *first}
    for candidate in _in_turn(queues):
        if candidate not in asked:
            asked.add(candidate)
            yield candidate


def _start_of(candidate: Candidate) -> Candidate:
    """The first student that it has come from."""
    while candidate.begun is not None:
        candidate = candidate.begun
    return candidate


def _narrower(start: Candidate, seconds: float) -> Candidate:
    """A student with fewer neurons; below one in each layer, a linear policy."""
    recipe = resized(start.recipe, _NARROWER)
    if recipe == start.recipe:
        recipe = without_neurons(recipe)
    return Candidate(for_seconds(recipe, seconds), start.attempt)


def _anew(
    promising: Sequence[_Line],
    seen: Mapping[Candidate, Seen],
    demand: Demand,
    first_s: float,
    number: int,
) -> list[Candidate]:
    """The best first student for longer, or a wider one, where none keeps the return.

    Args:
        promising: the lines, the best first.
        seen: what is known.
        demand: what students are to meet.
        first_s: how long the first ones learned.
        number: how many such ones there were.
    """
    if not promising or number > _WIDER_ONES or any(ln.best(seen, demand) for ln in promising):
        return []
    recipe = promising[0].start.recipe
    if number > 0:
        recipe = resized(recipe, _WIDER)
    return [Candidate(for_seconds(recipe, _LONGER * first_s))]


def _promising(
    lines: Sequence[_Line], seen: Mapping[Candidate, Seen], demand: Demand
) -> list[_Line]:
    """Those that can still lead to the smallest: first those that keep the return, by cost."""
    kept = [(line, line.standing(seen, demand)) for line in lines]
    smallest = min((found.cost for _, found in kept if demand.is_met(found)), default=math.inf)
    most = max((found.retention for _, found in kept), default=-math.inf)
    if smallest == math.inf:
        kept = [each for each in kept if -math.inf < most - _ABREAST <= each[1].retention]
        return [line for line, _ in sorted(kept, key=lambda each: -each[1].retention)]
    promising = [
        (not demand.is_met(found), found.cost, number)
        for number, (_, found) in enumerate(kept)
        if (found.cost <= _TOO_LARGE * smallest)
        and (
            demand.is_met(found)
            or (found.cost < smallest and found.retention >= demand.retain - _WITHIN_REACH)
        )
    ]
    return [kept[number][0] for _, _, number in sorted(promising)]


def repeating(recipes: Sequence[Recipe], *, core_s: float, workers: int) -> Iterator[Candidate]:
    """Recipes as they were given, at lengths that fill the time, again and again from other seeds.

    Args:
        recipes: all learn for the same time.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
    """
    each_s = core_s / max(workers, len(recipes))
    lengths = [for_seconds(recipe, each_s) for recipe in recipes]
    return (Candidate(recipe, attempt) for attempt in itertools.count() for recipe in lengths)


def shortened(candidate: Candidate, seconds: float) -> Candidate:
    """The candidate with so many seconds of learning after what has begun, or as it is if less."""
    if candidate.learning_s <= seconds:
        return candidate
    steps = candidate.recipe.steps
    begun = 0 if candidate.begun is None else len(candidate.begun.recipe.steps)
    added = for_seconds(Recipe(steps[begun:]), seconds)
    return replace(candidate, recipe=Recipe((*steps[:begun], *added.steps)))


def for_seconds(recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps of learning as that time has, in their proportions."""
    return lengthened(recipe, seconds / learning_s(recipe))


def _in_turn(queues: Iterable[Iterable[Candidate]]) -> Iterator[Candidate]:
    """The first of each queue, then the second of each, and so on."""
    turns = itertools.zip_longest(*queues)
    return (candidate for turn in turns for candidate in turn if candidate is not None)


def _smaller(recipe: Recipe, *, fewer_bits: bool) -> list[Spec]:
    """Steps that make a student smaller, the boldest first."""
    least = min(_widths(recipe), default=0)
    removed = (*(max(1, round(least * share)) for share in _SHARES), 1)
    steps: list[Spec] = [
        StructuredPruning(ratio=round(count / least, 3))
        for count in dict.fromkeys(removed)
        if count < least
    ]
    bits = [step for step in recipe.steps if isinstance(step, Bits)]
    if fewer_bits and bits and (fewer := _FEWER_BITS.get(bits[-1].weights)):
        steps.insert(1, Bits.from_fields({**bits[-1].values, "weights": fewer}))
    return steps


def _widths(recipe: Recipe) -> tuple[int, ...]:
    """Of the hidden layers of a student that it makes."""
    widths: tuple[int, ...] = ()
    for step in recipe.steps:
        if isinstance(step, Distillation):
            widths = step.hidden
        elif isinstance(step, StructuredPruning):
            widths = tuple(width - step.removed(width) for width in widths)
    return widths


def _repairs(candidate: Candidate) -> int:
    """How often it has learned on since it was made smaller, or began."""
    begun = candidate.begun
    if begun is None:
        return 0
    added = candidate.recipe.steps[len(begun.recipe.steps) :]
    if any(isinstance(step, Bits | StructuredPruning) for step in added):
        return 0
    return 1 + _repairs(begun)


def _was_tried(candidate: Candidate, tried: Collection[Candidate]) -> bool:
    """Whether it was tried already, perhaps cut short for lack of time.

    What was tried for no more than half as long was planned to be that short.
    """

    def is_cut_short(other: Candidate) -> bool:
        return (
            (other.begun, other.attempt) == (candidate.begun, candidate.attempt)
            and 0.5 * candidate.learning_s < other.learning_s < candidate.learning_s
            and lengthened(other.recipe, 0) == lengthened(candidate.recipe, 0)
        )

    return candidate in tried or any(map(is_cut_short, tried))


def _extended(candidate: Candidate, *steps: Spec) -> Candidate:
    recipe = Recipe((*candidate.recipe.steps, *steps))
    return Candidate(recipe, candidate.attempt, begun=candidate)


def _imitating(seconds: float, teacher: Literal["agent", "before"]) -> Recovery:
    return Recovery(steps=max(1, round(seconds * Recovery.rates["steps"])), teacher=teacher)


def _tuned(candidate: Candidate, seconds: float) -> FineTuning:
    """For so long, at the rate at which it learned from the reward before."""
    before = [step for step in candidate.recipe.steps if isinstance(step, FineTuning)]
    steps = max(1, round(seconds * FineTuning.rates["steps"]))
    return FineTuning(steps=steps, rate=before[-1].rate if before else 0.0)
