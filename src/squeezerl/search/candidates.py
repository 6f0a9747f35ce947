"""What a squeeze can try: what every method offers in one shot, and students that learn."""

from __future__ import annotations

from dataclasses import dataclass

from squeezerl.methods.base import SPECS, ExpectedLayer, Spec
from squeezerl.methods.recipe import Recipe
from squeezerl.network.network import Network

# From a line to what a few kilobytes hold.
_WIDTHS = ("0", "4", "8", "16", "8x8", "16x16", "24x24", "32x32", "64x64")
# Activation, input and bits: what won on HalfCheetah, and what won on Hopper.
_KINDS = (("relu", "plain", "8"), ("hardtanh", "skip", "4"))


@dataclass(frozen=True)
class Candidate:
    """A recipe, and which attempt at it this is: each learns from another seed."""

    recipe: Recipe
    attempt: int = 0

    @property
    def ratio(self) -> float | None:
        """See `Recipe`."""
        return self.recipe.ratio

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


def finished(recipe: Recipe) -> Recipe:
    """The recipe of a student that learns from the reward in the end, too."""
    return Recipe((*recipe.steps, *Recipe.of("finetune").steps))


def students(network: Network) -> tuple[Recipe, ...]:
    """Recipes of small networks that learn from the agent, of fewer than half its weights."""
    recipes = []
    for widths in _WIDTHS:
        for activation, given, bits in _KINDS if widths != "0" else _KINDS[:1]:
            recipe = Recipe.of(
                f"distill:{widths}:{activation}:{given} | bits:{bits}:tensor | recover"
            )
            if _weights(recipe, network) < network.parameter_count / 2:
                recipes.append(recipe)
    return tuple(recipes)


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


def _weights(recipe: Recipe, network: Network) -> int:
    """Weights and biases of the student that a recipe begins with."""
    layers = recipe.steps[0].expect(
        [
            ExpectedLayer(name=name, in_features=layer.in_features, out_features=layer.out_features)
            for name, layer in network.named_layers.items()
        ]
    )
    return sum((layer.in_features + 1) * layer.out_features for layer in layers)
