"""What to learn next: successive halving over recipes, then all that is left for the best.

All recipes learn for a short time, the most promising quarter of them four times as long, and so on
(Karnin et al. 2013; Jamieson & Talwalkar 2016, arXiv 1502.07943). In the end, the smallest ones
that may still meet the demand learn again from other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from squeezerl.methods.recipe import Recipe
from squeezerl.search.candidates import Candidate, learning_s, lengthened

ROUNDS, FACTOR = 3, 4
# Of the time for learning, the rounds get this share, and attempts with other seeds what is left.
_SHARE = 0.6
_SHORTEST_S = 1.0
# What a student lacks falls about like one over the root of the time that it learns.
_GAINS = 0.5


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A candidate that has learned: what it costs and keeps."""

    cost: float
    retention: float


def as_given(recipe: Recipe) -> Recipe:
    """The recipe itself."""
    return recipe


def generations(
    recipes: Sequence[Recipe],
    seen: Mapping[Candidate, Seen],
    *,
    core_s: float,
    workers: int,
    retain: float,
    most: float = math.inf,
    finish: Callable[[Recipe], Recipe] = as_given,
) -> Iterator[list[Candidate]]:
    """What to learn, one generation after the other, without end.

    Args:
        recipes: as long as they are written, which is scaled to the time that there is.
        seen: what is known; when the next generation is asked for, it should hold the one before.
            Candidates that are missing in it could not be made.
        core_s: for learning, over all cores.
        workers: how many learn side by side.
        retain: the retention that is asked for.
        most: the highest cost that is allowed.
        finish: makes a recipe what it is from the last round on.
    """
    sizes = [len(recipes)]
    for _ in range(ROUNDS - 1):
        sizes.append(min(sizes[-1], max(workers, math.ceil(sizes[-1] / FACTOR))))
    first_s, last_s = (
        sum(learning_s(complete(recipe)) for recipe in recipes) / len(recipes)
        for complete in (as_given, finish)
    )
    rounds_s = sum(
        size * FACTOR**number * (first_s if number < ROUNDS - 1 else last_s)
        for number, size in enumerate(sizes)
    )
    times = max(_SHARE * core_s / rounds_s, _SHORTEST_S / first_s)
    alive = list(recipes)
    known: dict[Recipe, tuple[Seen, float]] = {}

    def take_in(generation: dict[Recipe, Candidate]) -> None:
        for recipe, candidate in generation.items():
            found = seen.get(candidate)
            if found is None:
                continue
            before = known.get(recipe)
            if before is None or found.retention >= before[0].retention:
                known[recipe] = (found, times)

    for number in range(ROUNDS):
        complete = finish if number == ROUNDS - 1 else as_given
        generation = {recipe: Candidate(lengthened(complete(recipe), times)) for recipe in alive}
        yield list(generation.values())
        take_in(generation)
        if number == ROUNDS - 1:
            break
        alive = promising(known, times * FACTOR, retain, most)[: sizes[number + 1]]
        if not alive:
            return
        times *= FACTOR
    attempt = 1
    while True:
        met = [found.cost for found, _ in known.values() if found.retention >= retain]
        smaller = {r: k for r, k in known.items() if not met or k[0].cost < min(met)}
        chosen = promising(smaller, 2 * times, retain, most) or promising(
            known, times, retain, most
        )
        generation = {
            recipe: Candidate(lengthened(finish(recipe), times), attempt)
            for recipe in chosen[:workers]
        }
        yield list(generation.values())
        take_in(generation)
        attempt += 1


def promising(
    known: Mapping[Recipe, tuple[Seen, float]], times: float, retain: float, most: float
) -> list[Recipe]:
    """The recipes that are allowed, the best first: the cheapest that may meet the demand.

    Args:
        known: what each kept and how many times its written length it had learned.
        times: how long it could learn.
        retain: the retention that is asked for.
        most: the highest cost that is allowed.
    """

    def rank(recipe: Recipe) -> tuple[bool, float]:
        found, learned = known[recipe]
        lacks = (1 - found.retention) * min(1.0, learned / times) ** _GAINS
        return (False, found.cost) if 1 - lacks >= retain else (True, lacks)

    return sorted((r for r, (found, _) in known.items() if found.cost <= most), key=rank)
