from __future__ import annotations

import pytest

from small_policies import SOURCE, make_network
from squeezerl.agents.load import Agent
from squeezerl.artifacts.manifest import Manifest
from squeezerl.errors import EnvError
from squeezerl.evaluation.environment import Environment
from squeezerl.pipeline.make import make_artifact

AGENT = Agent(make_network(3, 8, 1, bounds=(-2, 2)), SOURCE)
RECIPE = "distill:4:relu:skip:steps=300 | int8:static"


def test_a_recipe_that_learns_gives_the_same_file_again_and_reports_its_progress() -> None:
    place, done = Environment.find("Pendulum-v1"), list[float]()
    first = make_artifact(AGENT, RECIPE, environment=place, seed=3, on_progress=done.append)
    again = make_artifact(AGENT, RECIPE, environment=place, seed=3, threads=2)
    assert first.model == again.model
    assert [layer.in_features for layer in first.network.layers] == [3, 4 + 3]
    learning = first.manifest.learning
    assert learning is not None
    assert (learning.env_id, learning.seed) == ("Pendulum-v1", 3)
    assert Manifest.loads(first.manifest.dumps()) == first.manifest
    assert done == sorted(done)
    assert 0.8 < done[-1] <= 1


def test_learning_ends_where_its_progress_is_told_to() -> None:
    class Stop(BaseException):
        pass

    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise Stop

    with pytest.raises(Stop):
        make_artifact(AGENT, RECIPE, environment=Environment.find("Pendulum-v1"), on_progress=stop)


def test_an_agent_does_not_learn_where_it_does_not_fit() -> None:
    with pytest.raises(EnvError, match="observations of shape"):
        make_artifact(AGENT, "recover:5", environment=Environment.find("CartPole-v1"))


@pytest.mark.slow
def test_a_recipe_goes_on_from_what_a_shorter_one_made() -> None:
    place = Environment.find("CartPole-v1")
    agent = Agent(make_network(4, 8, 2, head="argmax"), SOURCE)
    first = "distill:6:relu:steps=200 | bits:8:tensor | recover:100"
    recipe = f"{first} | prune:l2:0.5 | bits:4:tensor | recover:100:teacher=before"
    whole = make_artifact(agent, recipe, environment=place, seed=3)
    begun = make_artifact(agent, first, environment=place, seed=3)
    rest = make_artifact(agent, recipe, environment=place, seed=3, begun=begun)
    assert rest.model == whole.model
    assert rest.manifest == whole.manifest
