"""What a squeeze can try: what every method offers in one shot, and students that learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from squeezerl.errors import InvalidArgumentError
from squeezerl.methods.base import SPECS, Spec, expected_layers
from squeezerl.methods.bits import Bits
from squeezerl.methods.distillation import Distillation
from squeezerl.methods.finetuning import FineTuning
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network

# The first does well on Hopper, the second on HalfCheetah.
_SKIPPING = "hardtanh:skip:steps=60000:head={head} | bits:8:tensor | finetune:120000"
_DEEP = "relu:steps=150000:head={head} | bits:8:shift | finetune:600000"
_LINEAR_RATE = 0.01
_STUDENTS = (f"distill:16:{_SKIPPING}", f"distill:25x25:{_DEEP}")


@dataclass(frozen=True)
class Candidate:
    """A recipe, and which attempt at it this is: each learns from another seed."""

    recipe: Recipe
    attempt: int = 0
    # What made the first steps of it already; the result is the same without.
    begun: Candidate | None = field(default=None, compare=False, repr=False)

    @property
    def learning_s(self) -> float:
        """Roughly the seconds that it takes, of which what has begun is no part."""
        before = 0.0 if self.begun is None else learning_s(self.begun.recipe)
        return learning_s(self.recipe) - before

    @property
    def name(self) -> str:
        """For folders and tables."""
        again = f"-attempt-{self.attempt + 1}" if self.attempt else ""
        return f"{self.recipe.name}{again}"


BASELINE = Candidate(Recipe())


def default_recipes() -> tuple[Recipe, ...]:
    """What every registered method offers to try, one shot each."""
    return tuple(Recipe((spec,)) for method in SPECS for spec in method.candidates())


def quick_recipes() -> tuple[Recipe, ...]:
    """Those of them that are not one of a whole grid, to fall back on beside students."""
    return tuple(recipe for recipe in default_recipes() if recipe.ratio is None)


def fixed_and_learning(
    given: Sequence[Recipe], students: Callable[[], tuple[Recipe, ...]], *, has_budget: bool
) -> tuple[tuple[Recipe, ...], tuple[Recipe, ...]]:
    """The recipes to try as they are, and those that learn in the time that there is.

    Args:
        given: by the user; unless there are any, the defaults.
        students: gives the default recipes that learn.
        has_budget: whether there is time to learn.

    Raises:
        InvalidArgumentError: if two recipes share a name.
    """
    learning: tuple[Recipe, ...] = ()
    if has_budget:
        learning = tuple(filter(learns, given)) if given else students()
        tried = tuple(given) or quick_recipes()
    else:
        tried = tuple(given) or default_recipes()
    names = [recipe.name for recipe in (BASELINE.recipe, *tried)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidArgumentError(f"`recipes` names {sorted(twice)[0]} twice")
    return tuple(recipe for recipe in tried if recipe not in learning), learning


def front_of(
    kept: Mapping[Candidate, float], cost: Callable[[Candidate], float]
) -> tuple[Candidate, ...]:
    """The candidates that keep more than any cheaper one, the cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(kept, key=cost):
        if not front or kept[candidate] > kept[front[-1]]:
            front.append(candidate)
    return tuple(front)


def student_head(network: Network) -> str:
    """The head of a student: a clip for an agent with a tanh, which never reaches its bounds."""
    return "clip" if network.head.kind == "tanh" else "same"


def students(network: Network) -> tuple[Recipe, ...]:
    """A recipe of each kind of small network that learns from the agent and the reward.

    It has less than half of the agent's weights.
    """
    head = student_head(network)
    recipes = []
    for text in _STUDENTS:
        recipe = Recipe.of(text.format(head=head))
        while weight_count(recipe, network) >= network.parameter_count / 2:
            narrower = resized(recipe, 0.5)
            if narrower == recipe:
                break
            recipe = narrower
        else:
            recipes.append(recipe)
    return tuple(recipes)


def resized(recipe: Recipe, times: float) -> Recipe:
    """The recipe of a student, with hidden layers of so many times as many neurons."""
    first, *rest = recipe.steps
    assert isinstance(first, Distillation)
    widths = tuple(max(1, round(times * width)) for width in first.hidden)
    return Recipe((dataclasses.replace(first, widths=widths or first.widths), *rest))


def without_neurons(recipe: Recipe) -> Recipe:
    """The recipe of a student, made a linear policy without a normaliser, for the fewest bytes.

    What it cannot imitate it has to learn from the reward, so that has more of the time, and both
    have a higher rate: as networks learn, one for CartPole stayed at half of the return.
    """
    linear = Distillation(widths=(0,), normalizer="fold", rate=_LINEAR_RATE)
    steps: list[Spec] = []
    for step in recipe.steps:
        match step:
            case Distillation() if not step.hidden:
                return recipe
            case Distillation():
                steps.append(
                    dataclasses.replace(linear, head=step.head, steps=max(1, step.steps // 10))
                )
            case Bits():
                steps.append(
                    dataclasses.replace(step, scales="tensor", activations="float", inputs="tensor")
                )
            case FineTuning():
                steps.append(dataclasses.replace(step, steps=2 * step.steps, rate=_LINEAR_RATE))
            case _:
                steps.append(step)
    return Recipe(tuple(steps))


def learns(recipe: Recipe) -> bool:
    """Whether it has steps that can be made longer."""
    return any(step.rates for step in recipe.steps)


def lengthened(recipe: Recipe, times: float) -> Recipe:
    """The recipe with so many times as many steps of learning."""
    return Recipe(tuple(_lengthened(step, times) for step in recipe.steps))


def learning_s(recipe: Recipe) -> float:
    """Roughly the seconds that it takes."""
    return sum(step.estimate_s for step in recipe.steps)


def _lengthened(step: Spec, times: float) -> Spec:
    longer = {name: max(1, round(getattr(step, name) * times)) for name in step.rates}
    return step.from_fields({**step.values, **longer})


def weight_count(recipe: Recipe, network: Network) -> int:
    """Weights and biases of the student that a recipe begins with."""
    layers = recipe.steps[0].expect(expected_layers(network))
    return sum((layer.in_features + 1) * layer.out_features for layer in layers)
