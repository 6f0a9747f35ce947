from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from small_policies import demo_network, make_network
from squeezerl.methods.bits import Bits
from squeezerl.methods.pruning import StructuredPruning
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
from squeezerl.search.judging import worth_judging
from squeezerl.search.planner import Demand, Seen, repeating, shortened, shrinking

START = Recipe.of("distill:32:hardtanh:skip:steps=20000 | bits:8:tensor | finetune:300000")
OTHER = Recipe.of("distill:64x64:relu:steps=60000 | bits:8:tensor | finetune:300000")
CORE_S, WORKERS, RETAIN = 1000.0, 2, 0.95
Law = Callable[[Candidate], Seen | None]


def _width(recipe: Recipe) -> int:
    width = recipe.steps[0].values["widths"][0]
    for step in recipe.steps:
        if isinstance(step, StructuredPruning):
            if not 0 < step.removed(width) < width:
                return 0
            width -= step.removed(width)
    return int(width)


def _bits(recipe: Recipe) -> int:
    return next(int(step.weights) for step in reversed(recipe.steps) if isinstance(step, Bits))


def _cost(candidate: Candidate) -> int:
    return _width(candidate.recipe) * _bits(candidate.recipe)


def _law(candidate: Candidate) -> Seen | None:
    """With 6 neurons of 4 bits the return is kept, with fewer only after longer learning."""
    width, bits = _width(candidate.recipe), _bits(candidate.recipe)
    if not width:
        return None
    lacks = 0.02 * max(0, 6 - width) + 0.1 * max(0, 4 - bits)
    return Seen(cost=width * bits, retention=1 - lacks * 20 / candidate.learning_s)


def _plan(
    law: Law, count: int = 100, starts: tuple[Recipe, ...] = (START,), most: float = math.inf
) -> list[list[Candidate]]:
    """What is tried in each of so many turns, of which each fills the workers."""
    seen: dict[Candidate, Seen] = {}
    tried: list[Candidate] = []
    demand = Demand(retain=RETAIN, most=most)
    found = []
    for _ in range(count):
        plan = shrinking(starts, tried, (), seen, demand, core_s=CORE_S, workers=WORKERS)
        if not (turn := list(itertools.islice(plan, WORKERS))):
            break
        found.append(turn)
        tried += turn
        seen |= {candidate: known for candidate in turn if (known := law(candidate))}
    return found


def _after_the_first() -> tuple[list[Candidate], Callable[..., Iterator[Candidate]]]:
    """Two first students that lack little, and what plans on from there."""
    first = _plan(_law, 1, (START, OTHER))[0]
    demand = Demand(retain=RETAIN)
    seen = {candidate: Seen(cost=100, retention=0.9) for candidate in first}
    plan = partial(
        shrinking, (START, OTHER), seen=seen, demand=demand, core_s=CORE_S, workers=WORKERS
    )
    return first, plan


def test_first_students_of_every_kind_learn_for_equal_times() -> None:
    first = _plan(_law, 1, (START, OTHER))[0]
    assert [_width(candidate.recipe) for candidate in first] == [32, 64]
    assert learning_s(first[0].recipe) == pytest.approx(learning_s(first[1].recipe), rel=0.01)
    assert sum(learning_s(c.recipe) for c in first) == pytest.approx(0.2 * CORE_S, rel=0.01)


def test_one_kind_fills_all_workers_with_other_seeds() -> None:
    assert [candidate.attempt for candidate in _plan(_law, 1)[0]] == [0, 1]


def test_what_keeps_the_return_grows_smaller_until_it_no_longer_does() -> None:
    plan = _plan(_law, 20)
    costs = [_cost(c) for each in plan for c in each if (s := _law(c)) and s.retention >= RETAIN]
    assert min(costs) <= 6 * 4
    smallest = [min(costs[: n + 1]) for n in range(len(costs))]
    assert smallest == sorted(smallest, reverse=True)


def test_each_generation_goes_on_from_what_was_there_and_fills_the_workers() -> None:
    plan = _plan(_law, 12)
    known = set(plan[0])
    for generation in plan[1:]:
        assert len(set(generation)) == len(generation) <= WORKERS
        for candidate in generation:
            begun = candidate.begun
            if begun is None:  # a first student, narrower than one that kept the return
                assert _width(candidate.recipe) < 32
                continue
            assert begun in known
            assert candidate.recipe.steps[: len(begun.recipe.steps)] == begun.recipe.steps
            assert 0 < candidate.learning_s < learning_s(candidate.recipe)
        known |= set(generation)
    full = [generation for generation in plan if len(generation) == WORKERS]
    assert len(full) >= len(plan) - 2


def test_what_lacks_little_learns_on_before_it_is_given_up() -> None:
    def slow(candidate: Candidate) -> Seen | None:
        """It needs two rounds of learning after every move."""
        seen = _law(candidate)
        tuned = sum(step.kind == "finetune" for step in candidate.recipe.steps)
        moves = sum(step.kind in ("prune", "bits") for step in candidate.recipe.steps)
        enough = moves == 1 or tuned >= 2 * moves - 1
        return seen and Seen(cost=seen.cost, retention=1.0 if enough else 0.8)

    plan = _plan(slow, 10)
    kept = [c for each in plan for c in each if (seen := slow(c)) and seen.retention == 1]
    assert min(map(_cost, kept)) < 32 * 8 / 2


def test_a_start_that_keeps_nothing_learns_on_and_ends_after_some_tries() -> None:
    plan = _plan(lambda candidate: Seen(cost=1, retention=_width(candidate.recipe) / 1000))
    assert 3 <= len(plan) < 20
    widths = [_width(candidate.recipe) for each in plan for candidate in each]
    assert max(widths) > 2 * 32  # wider ones are tried as well
    assert all(step.kind != "prune" for each in plan for c in each for step in c.recipe.steps)


def test_a_line_that_is_far_larger_than_the_smallest_ends() -> None:
    plan = _plan(_law, 4, (START, OTHER))
    assert all(_width(candidate.recipe) <= 32 for candidate in plan[-1])


def test_above_the_limit_everything_is_made_smaller() -> None:
    plan = _plan(lambda c: Seen(cost=_cost(c), retention=0.9), 8, most=100)
    assert min(_cost(candidate) for each in plan for candidate in each) <= 100


def test_it_ends_where_no_move_is_possible() -> None:
    def refused(candidate: Candidate) -> Seen | None:
        return None if candidate.begun else Seen(cost=1, retention=1)

    assert len(_plan(refused)) < 20


def test_the_same_is_planned_for_the_same_results() -> None:
    assert _plan(_law, 8) == _plan(_law, 8)


def test_given_recipes_learn_again_and_again_from_other_seeds() -> None:
    plan = repeating([START, OTHER], core_s=CORE_S, workers=WORKERS)
    first, second = list(itertools.islice(plan, 2)), list(itertools.islice(plan, 2))
    assert [candidate.attempt for candidate in (*first, *second)] == [0, 0, 1, 1]
    assert {c.recipe for c in first} == {c.recipe for c in second}
    assert sum(learning_s(c.recipe) for c in first) == pytest.approx(CORE_S, rel=0.01)


def test_a_free_worker_goes_on_while_another_still_learns() -> None:
    first, plan = _after_the_first()
    follower = next(plan(first, ()))
    assert follower.begun in first
    other = next(plan([*first, follower], [follower]))
    assert other not in (*first, follower)
    assert not list(plan(first, first[1:]))  # which of them are promising is not known yet


def test_what_begins_late_learns_for_the_time_that_is_left() -> None:
    start = Candidate(START)
    short = shortened(start, 5.0)
    assert short.learning_s == pytest.approx(5.0, rel=0.01)
    assert shortened(short, 6.0) == short
    longer = Candidate(Recipe.of(f"{START.text} | recover:20000 | finetune:300000"), begun=start)
    short = shortened(longer, 5.0)
    assert short.learning_s == pytest.approx(5.0, rel=0.01)
    assert short.recipe.steps[:3] == START.steps
    assert short.begun == start


def test_what_was_cut_short_is_not_planned_again() -> None:
    first, plan = _after_the_first()
    whole = next(plan(first, ()))
    short = shortened(whole, 0.7 * whole.learning_s)
    others = list(plan([*first, short], [short]))
    assert others
    assert whole not in others


def test_students_are_small_and_learn() -> None:
    network = demo_network()
    recipes = students(network)
    assert len(recipes) > 1
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


def test_students_fit_into_small_agents_as_well() -> None:
    for recipe in students(make_network(4, 16, 2, head="argmax")):
        network = recipe.steps[0].values["widths"]
        assert max(network) < 16


def test_where_a_single_neuron_keeps_the_return_a_linear_policy_is_tried_in_fewer_bits() -> None:
    def law(candidate: Candidate) -> Seen:
        return Seen(cost=_bits(candidate.recipe) * (1 + _width(candidate.recipe)), retention=1.0)

    tried = [candidate.recipe for turn in _plan(law, 40) for candidate in turn]
    linear = [recipe for recipe in tried if recipe.steps[0].values["widths"] == (0,)]
    assert linear
    assert {_bits(recipe) for recipe in linear} >= {8, 6, 5, 4}
    assert len({recipe.steps[0] for recipe in linear}) == 1
    for recipe in linear:
        assert recipe.steps[0].values["normalizer"] == "fold"
        assert {s.activations for s in recipe.steps if isinstance(s, Bits)} == {"float"}


def test_a_first_student_that_keeps_the_return_has_narrower_siblings() -> None:
    plan = _plan(lambda c: Seen(cost=_cost(c), retention=1.0) if _width(c.recipe) else None, 12)
    starts = [_width(c.recipe) for each in plan for c in each if c.begun is None]
    assert {32, 11, 4, 1} <= set(starts)
    assert len(starts) == len({c for each in plan for c in each if c.begun is None})


def test_nothing_wider_begins_where_one_kind_keeps_the_return() -> None:
    def deep_ones(candidate: Candidate) -> Seen:
        deep = len(candidate.recipe.steps[0].values["widths"]) == 2
        return Seen(cost=_cost(candidate), retention=1.0 if deep else 0.8)

    plan = _plan(deep_ones, 6, (START, OTHER))
    assert max(_width(c.recipe) for each in plan for c in each) == 64
    assert {_width(candidate.recipe) for candidate in plan[1]} >= {21}


def test_the_runner_up_is_judged_too_if_it_seems_to_keep_the_return() -> None:
    """The best at a glance may have been lucky."""
    best, runner_up, third, worse, dear, small = (
        Candidate(Recipe.of(f"distill:{width} | bits:8")) for width in (8, 9, 10, 11, 12, 4)
    )
    students = {
        best: Seen(cost=100, retention=0.98),
        runner_up: Seen(cost=100, retention=0.96),
        third: Seen(cost=100, retention=0.955),
        worse: Seen(cost=110, retention=0.94),
        dear: Seen(cost=200, retention=0.99),
        small: Seen(cost=50, retention=0.7),
    }
    assert worth_judging(students, 0.95) == (best, runner_up, dear)
    assert worth_judging(students, 0.99) == (best, dear)
