"""Which layer costs the return: all are quantized but one, which stays in float.

A layer that is quantized alone says less: the layers behind it take up what it lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from squeezerl.agents.load import Agent
from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.errors import SpecError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate, play
from squeezerl.methods.base import Given
from squeezerl.methods.recipe import Recipe, RecipeLike
from squeezerl.network.arithmetic import act
from squeezerl.records import Interval
from squeezerl.runtimes.onnx_runtime import load_network


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What quantizing costs if one layer stays in float, or none.

    Args:
        in_float: the layer that stays in float, or "none".
        deviation: of the actions from those in float, root mean square, in the states that the
            agent visits.
        difference: of the return from that in float, on the same seeds.
    """

    in_float: str
    deviation: float
    difference: Interval


def layer_costs(
    agent: Agent,
    recipe: RecipeLike,
    environment: Environment,
    *,
    episodes: int,
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> list[LayerCost]:
    """What a recipe costs with all layers quantized, and with each layer in turn in float.

    Args:
        agent: stays as it is.
        recipe: of one step that has a field `keep`.
        environment: where the agent plays.
        episodes: for each layer, on the seeds from `seed` on.
        seed: of the first episode, and of calibration.
        on_progress: called with the share that is done.

    Raises:
        SpecError: if the recipe is another one.
    """
    steps = Recipe.of(recipe).steps
    if len(steps) != 1 or "keep" not in steps[0].values:
        raise SpecError("the cost of each layer is for one quantizing step, for example bits:4")
    spec = steps[0]
    actor = load_network(agent.network)
    observations, _ = calibrate(actor, environment, seed=seed)
    exact = act(agent.network, observations)
    returns = np.array(play(actor, environment, episodes=episodes, seed=seed).returns)
    kept = tuple(spec.values["keep"])
    sets = {"none": kept}
    sets |= {name: (*kept, name) for name in agent.network.named_layers if name not in kept}
    costs = []
    for place, (name, keep) in enumerate(sets.items()):
        step = spec.from_fields(spec.values | {"keep": keep})
        network = step.apply(agent.network, Given(observations=observations))
        played = play(load_network(network), environment, episodes=episodes, seed=seed)
        difference = np.array(played.returns) - returns
        costs.append(
            LayerCost(
                in_float=name,
                deviation=float(np.sqrt(((act(network, observations) - exact) ** 2.0).mean())),
                difference=mean_interval(difference, np.random.default_rng(seed)),
            )
        )
        on_progress((place + 1) / len(sets))
    return costs
