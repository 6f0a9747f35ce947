from __future__ import annotations

import math

import pytest

from small_policies import demo_network
from squeezerl.methods.recipe import Recipe
from squeezerl.search.candidates import (
    Candidate,
    default_recipes,
    learning_s,
    learns,
    lengthened,
    quick_recipes,
    students,
)
from squeezerl.search.planner import FACTOR, ROUNDS, Seen, generations, promising

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256)
RECIPES = tuple(Recipe.of(f"distill:{width}:relu:plain") for width in WIDTHS)
CORE_S, WORKERS, RETAIN = 1000.0, 2, 0.95


def _width(candidate: Candidate) -> int:
    return candidate.recipe.steps[0].values["widths"][0]


def _law(candidate: Candidate) -> Seen:
    """What is lacking falls with the width and with the root of the time."""
    lacks = 2 / (_width(candidate) * math.sqrt(learning_s(candidate.recipe)))
    return Seen(cost=_width(candidate), retention=1 - lacks)


def _plan(count: int, most: float = math.inf) -> list[list[Candidate]]:
    seen: dict[Candidate, Seen] = {}
    plan = generations(RECIPES, seen, core_s=CORE_S, workers=WORKERS, retain=RETAIN, most=most)
    found = []
    for generation, _ in zip(plan, range(count), strict=False):
        found.append(generation)
        seen |= {candidate: _law(candidate) for candidate in generation}
    return found


def test_each_round_is_a_quarter_of_the_one_before_and_four_times_as_long() -> None:
    rounds = _plan(ROUNDS)
    assert [len(generation) for generation in rounds] == [8, 2, 2]
    seconds = [learning_s(generation[0].recipe) for generation in rounds]
    assert seconds[1] / seconds[0] == pytest.approx(FACTOR, rel=0.01)
    assert seconds[2] / seconds[1] == pytest.approx(FACTOR, rel=0.01)
    total = sum(learning_s(candidate.recipe) for each in rounds for candidate in each)
    assert 0.3 * CORE_S < total < CORE_S


def test_the_smallest_that_can_still_meet_the_demand_go_on() -> None:
    rounds = _plan(ROUNDS)
    # A width of 2 lacks too much even after the longest time; one of 256 costs more than it must.
    final = {_width(candidate) for candidate in rounds[-1]}
    assert 256 not in final
    assert max(_law(candidate).retention for candidate in rounds[-1]) >= RETAIN


def test_after_the_rounds_the_best_learn_again_from_other_seeds() -> None:
    plan = _plan(ROUNDS + 3)
    later = [candidate for generation in plan[ROUNDS:] for candidate in generation]
    assert {candidate.attempt for candidate in later} == {1, 2, 3}
    assert len(set(later)) == len(later)


def test_nothing_beyond_the_limit_learns_for_long() -> None:
    plan = _plan(ROUNDS + 2, most=16)
    assert all(_width(candidate) <= 16 for each in plan[1:] for candidate in each)


def test_it_ends_where_nothing_is_allowed() -> None:
    assert len(_plan(10, most=1)) == 1


def test_what_meets_the_demand_is_ordered_by_cost_and_the_rest_by_what_it_lacks() -> None:
    known = {
        recipe: (Seen(cost=cost, retention=retention), 1.0)
        for recipe, cost, retention in zip(
            RECIPES, (10, 20, 30, 40), (0.2, 0.97, 0.99, 0.5), strict=False
        )
    }
    assert promising(known, 1.0, RETAIN, math.inf) == [RECIPES[i] for i in (1, 2, 3, 0)]
    # Four times as long, half is lacking: nothing new; a hundred times as long, 0.5 becomes 0.95.
    assert promising(known, 100.0, RETAIN, math.inf) == [RECIPES[i] for i in (1, 2, 3, 0)]


def test_students_are_small_and_learn() -> None:
    network = demo_network()
    recipes = students(network)
    assert len(recipes) > 10
    assert all(map(learns, recipes))
    assert len({recipe.name for recipe in recipes}) == len(recipes)


def test_a_longer_recipe_is_the_same_with_more_steps() -> None:
    recipe = Recipe.of("distill:8:relu:plain | int8:static")
    longer = lengthened(recipe, 2.5)
    assert learning_s(longer) == pytest.approx(2.5 * learning_s(recipe), rel=0.01)
    assert longer.steps[1:] == recipe.steps[1:]
    assert lengthened(longer, 0.4) == recipe
    assert not learns(Recipe.of("ptdq"))


def test_quick_recipes_are_no_grids() -> None:
    assert set(quick_recipes()) < set(default_recipes())
    assert not any(recipe.ratio for recipe in quick_recipes())


def test_rounds_of_few_recipes_fit_into_the_time_as_well() -> None:
    seen: dict[Candidate, Seen] = {}
    plan = generations(RECIPES[3:5], seen, core_s=CORE_S, workers=WORKERS, retain=RETAIN)
    total = 0.0
    for generation, _ in zip(plan, range(ROUNDS), strict=False):
        seen |= {candidate: _law(candidate) for candidate in generation}
        total += sum(learning_s(candidate.recipe) for candidate in generation)
    assert total == pytest.approx(0.6 * CORE_S, rel=0.01)
