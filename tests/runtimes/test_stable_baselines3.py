from __future__ import annotations

from typing import ClassVar

import pytest

from runtime_contract import RuntimeContract
from small_policies import demo_network, make_network, random_observations
from squeezerl.errors import UnsupportedPolicyError
from squeezerl.runtimes.stable_baselines3 import StableBaselines3


class TestStableBaselines3(RuntimeContract):
    runtime = StableBaselines3()

    @pytest.mark.parametrize("algorithm", ["nope", "PPO", "sac"])
    def test_algorithms_that_do_not_act_so_are_refused(self, algorithm: str) -> None:
        assert self.runtime.refusal(demo_network(), algorithm)
        with pytest.raises(UnsupportedPolicyError):
            self.load(demo_network(), algorithm)


class TestContrib(RuntimeContract):
    runtime = StableBaselines3()
    heads: ClassVar = {"clip": "trpo", "tanh": "tqc", "argmax": "qrdqn"}


@pytest.mark.parametrize("algorithm", ["a2c", "ddpg", "td3"])
def test_other_algorithms_act_as_the_arithmetic_says(algorithm: str) -> None:
    class Contract(RuntimeContract):
        runtime = StableBaselines3()
        heads: ClassVar = dict.fromkeys(("clip", "tanh"), algorithm)

    network = make_network(4, 8, 2, head="clip" if algorithm == "a2c" else "tanh")
    Contract().acts_as_the_arithmetic_says(network, random_observations(network, 5))
