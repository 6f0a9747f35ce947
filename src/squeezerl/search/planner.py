"""What to learn next: students that grow smaller as long as they keep the return.

A few students of different kinds learn from the agent. Then each that keeps the return is made
smaller by several moves at once, learns on for a short time, and the smallest that still keeps the
return is where it goes on: NetAdapt (Yang et al. 2018, arXiv 1804.03230), with learning from the
reward where that has supervised fine-tuning. What has lost a little learns on for longer first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from squeezerl.methods.base import Spec
from squeezerl.methods.bits import Bits
from squeezerl.methods.distillation import Distillation
from squeezerl.methods.finetuning import FineTuning
from squeezerl.methods.pruning import StructuredPruning
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.recovery import Recovery
from squeezerl.search.candidates import Candidate, learning_s, lengthened

# Of the time for learning, all first students together get this share, and what follows a move
# another, but not less than so many seconds.
_START_SHARE, _MOVE_SHARE, _SHORTEST_S = 0.3, 0.025, 1.0
# A glance at a few episodes must show so much more than is asked for.
_MARGIN = 0.02
# The share of the neurons that the first move takes away; half of it where that was too much, down
# to one neuron, after which everything learns for twice as long.
_BOLDEST = 0.35
# What lacks less than this learns on, so often.
_WITHIN_REACH, _MOST_REPAIRS = 0.3, 2
# A line that is so much larger than the smallest one ends.
_TOO_LARGE = 2.5


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A candidate that has learned: what it costs and keeps."""

    cost: float
    retention: float


@dataclass
class _Line:
    """A student and what became of it.

    Args:
        start: how it began.
        learn_s: how long it learns after each move.
        best: the smallest so far that keeps the return.
        cost: of that.
        repairs: what lost too much by the last moves, and how often it has learned on.
        share: of the neurons that the next move takes away.
        is_stuck: whether no move is possible any more.
    """

    start: Candidate
    learn_s: float
    best: Candidate | None = None
    cost: float = math.inf
    repairs: list[Candidate] = field(default_factory=list)
    share: float = _BOLDEST
    is_stuck: bool = False
    tried: set[Candidate] = field(default_factory=set)

    def moves(self, count: int, *, fewer_bits: bool) -> list[Candidate]:
        """Up to so many candidates to try next, the most promising first."""
        moves = []
        if self.repairs:
            moves.append(_extended(self.repairs[-1], _tuned(2 * self.learn_s)))
        if self.best is not None:
            moves += [
                _extended(self.best, step, _tuned(self.learn_s))
                for step in _smaller(self.best.recipe, self.share, fewer_bits=fewer_bits)
            ]
        elif self.repairs:
            recovered = Recovery(steps=round(self.learn_s * Recovery.rates["steps"]))
            moves.append(_extended(self.repairs[-1], recovered, _tuned(self.learn_s)))
        new = [move for move in moves if move not in self.tried][:count]
        return new

    def take_in(
        self, tried: Sequence[Candidate], seen: Mapping[Candidate, Seen], retain: float, most: float
    ) -> None:
        """Go on from the smallest that keeps the return, or from the best of those that do not."""
        self.tried |= set(tried)
        known = [candidate for candidate in tried if candidate in seen]
        met = [
            candidate
            for candidate in known
            if seen[candidate].cost < self.cost
            and (seen[candidate].retention >= retain + _MARGIN or self.cost > most)
        ]
        if met:
            self.best = min(met, key=lambda candidate: seen[candidate].cost)
            self.cost, self.repairs = seen[self.best].cost, []
            return
        near = [c for c in known if seen[c].retention >= retain - _WITHIN_REACH]
        if self.best is None:
            near = known
        tries = len(self.repairs)
        if near and tries < (_MOST_REPAIRS if self.best else 2 * _MOST_REPAIRS):
            self.repairs.append(max(near, key=lambda candidate: seen[candidate].retention))
        else:
            self.repairs = []
        if self.best is None:
            return
        if self.share * min(_widths(self.best.recipe), default=0) >= 1.5:
            self.share /= 2
        else:
            self.share, self.learn_s = _BOLDEST / 2, 2 * self.learn_s
            self.is_stuck = not known

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to go on from."""
        return self.is_stuck or (self.best is None and not self.repairs)


def shrinking(
    starts: Sequence[Recipe],
    seen: Mapping[Candidate, Seen],
    *,
    core_s: float,
    workers: int,
    retain: float,
    most: float = math.inf,
    fewer_bits: bool = True,
) -> Iterator[list[Candidate]]:
    """What to learn, one generation after the other, until nothing is left to try.

    Args:
        starts: recipes of first students; each learns for an equal time.
        seen: what is known; when the next generation is asked for, it should hold the one before.
            Candidates that are missing in it could not be made.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
        retain: the retention that is asked for.
        most: the highest cost that is allowed; above it everything is made smaller.
        fewer_bits: whether weights of fewer bits cost less.
    """
    count = max(workers, len(starts))
    each_s = _START_SHARE * core_s / count
    learn_s = max(_SHORTEST_S, _MOVE_SHARE * core_s)
    lines = [
        _Line(Candidate(for_seconds(starts[n % len(starts)], each_s), n // len(starts)), learn_s)
        for n in range(count)
    ]
    tried = {id(line): [line.start] for line in lines}
    while True:
        generation = list(dict.fromkeys(c for each in tried.values() for c in each))
        if not generation:
            return
        yield generation
        for line in lines:
            if candidates := tried.get(id(line)):
                line.take_in(candidates, seen, retain, most)
        smallest = min(line.cost for line in lines)
        lines = [
            line
            for line in lines
            if not line.is_over
            and (line.cost if line.best else _size(line, seen)) <= _TOO_LARGE * smallest
        ]
        lines.sort(key=lambda line: line.cost)
        tried = _shared_out(lines, workers, fewer_bits)


def repeating(
    recipes: Sequence[Recipe], *, core_s: float, workers: int
) -> Iterator[list[Candidate]]:
    """Recipes as they were given, at lengths that fill the time, again and again from other seeds.

    Args:
        recipes: all learn for the same time.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
    """
    each_s = core_s / max(workers, len(recipes))
    attempt = 0
    while True:
        yield [Candidate(for_seconds(recipe, each_s), attempt) for recipe in recipes]
        attempt += 1


def for_seconds(recipe: Recipe, seconds: float) -> Recipe:
    """The recipe with as many steps of learning as that time has, in their proportions."""
    return lengthened(recipe, seconds / learning_s(recipe))


def _size(line: _Line, seen: Mapping[Candidate, Seen]) -> float:
    """What a student costs that does not keep the return yet."""
    return seen[line.repairs[-1]].cost


def _shared_out(
    lines: Sequence[_Line], workers: int, fewer_bits: bool
) -> dict[int, list[Candidate]]:
    """For each line what it tries next: its first move, and more where workers are left."""
    queues = {id(line): line.moves(workers, fewer_bits=fewer_bits) for line in lines}
    taken: dict[int, list[Candidate]] = {key: [] for key in queues}
    left = workers
    while left and any(queues.values()):
        for key, queue in queues.items():
            if queue and left:
                taken[key].append(queue.pop(0))
                left -= 1
    return taken


def _smaller(recipe: Recipe, share: float, *, fewer_bits: bool) -> list[Spec]:
    """Steps that make a student smaller, the most promising first."""
    least = min(_widths(recipe), default=0)
    removed = [max(1, round(least * part)) for part in (share, share / 2)]
    moves: list[Spec] = [
        StructuredPruning(ratio=round(count / least, 3))
        for count in dict.fromkeys(removed)
        if count < least
    ]
    bits = [step for step in recipe.steps if isinstance(step, Bits)]
    if fewer_bits and bits and (fewer := _FEWER_BITS.get(bits[-1].weights)):
        moves.insert(1, Bits.from_fields({**bits[-1].values, "weights": fewer}))
    return moves


def _widths(recipe: Recipe) -> tuple[int, ...]:
    """Of the hidden layers of a student that it makes."""
    widths: tuple[int, ...] = ()
    for step in recipe.steps:
        if isinstance(step, Distillation):
            widths = step.hidden
        elif isinstance(step, StructuredPruning):
            widths = tuple(width - step.removed(width) for width in widths)
    return widths


_FEWER_BITS = {"8": "6", "7": "6", "6": "5", "5": "4", "4": "3", "3": "2"}


def _extended(candidate: Candidate, *steps: Spec) -> Candidate:
    recipe = Recipe((*candidate.recipe.steps, *steps))
    return Candidate(recipe, candidate.attempt, begun=candidate)


def _tuned(seconds: float) -> FineTuning:
    return FineTuning(steps=max(1, round(seconds * FineTuning.rates["steps"])))
