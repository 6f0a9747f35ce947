from __future__ import annotations

import pytest

from squeezerl.agents.load import load_agent
from squeezerl.errors import SpecError
from squeezerl.evaluation.environment import Environment
from squeezerl.pipeline.layer_costs import layer_costs

pytestmark = pytest.mark.slow


def test_all_layers_are_quantized_and_then_all_but_one() -> None:
    agent, environment = load_agent("demo"), Environment.find("HalfCheetah-v5")
    shares: list[float] = []
    costs = layer_costs(agent, "bits:3", environment, episodes=2, on_progress=shares.append)
    assert [cost.in_float for cost in costs] == ["none", "layer0", "layer1", "layer2"]
    everything, *others = (cost.deviation for cost in costs)
    assert 0 < min(others) < everything
    assert all(cost.difference.low <= cost.difference.high for cost in costs)
    assert shares[-1] == 1


@pytest.mark.parametrize("recipe", ["float", "l2:0.5", "l2:0.5 | bits:4"])
def test_other_recipes_are_refused(recipe: str) -> None:
    with pytest.raises(SpecError, match="one quantizing step, for example bits:4"):
        layer_costs(load_agent("demo"), recipe, Environment.find("HalfCheetah-v5"), episodes=1)
