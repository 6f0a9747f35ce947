from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from small_policies import compress, make_network
from squeezerl.errors import SpecError
from squeezerl.methods.base import SPECS, Act, Given, Transitions, parse_spec, spec_from_json
from squeezerl.methods.finetuning import FineTuning
from squeezerl.network.arithmetic import act
from squeezerl.network.network import IntegerTensor, Network


class Reaching:
    """Episodes of 20 steps; the reward is the closeness of the action to a point."""

    rows = 32
    length = 20

    def __init__(self, point: Any, discrete: bool = False) -> None:
        self._point, self._discrete = np.asarray(point, np.float32), discrete
        self.restart(0)

    def _states(self, rows: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        return rng.normal(size=(rows, 3)).astype(np.float32)

    def _reward(self, actions: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if self._discrete:
            return (actions == self._point).astype(np.float32)
        return 1 - np.square(actions - self._point).sum(axis=1).astype(np.float32)

    def restart(self, number: int) -> None:
        self._rng = np.random.default_rng(number)
        self._now = self._states(self.rows, self._rng)
        self._step = 0

    def roll(self, act: Act, steps: int) -> Transitions:
        observations, rewards, ended, counts = [self._now], [], [], []
        for _ in range(steps):
            place = self._step % (self.length + 1)
            counts.append(np.full(self.rows, place < self.length))
            rewards.append(self._reward(act(self._now)) * counts[-1])
            ended.append(np.full(self.rows, place == self.length - 1))
            self._now = self._states(self.rows, self._rng)
            observations.append(self._now)
            self._step += 1
        return Transitions(
            observations=np.stack(observations),
            rewards=np.stack(rewards),
            ended=np.stack(ended),
            truncated=np.stack(ended),
            counts=np.stack(counts),
        )

    def returns(
        self, acts: Sequence[Act], episodes: int, first: int = 0
    ) -> npt.NDArray[np.float64]:
        return np.array(
            [[self._return(act, seed) for seed in range(first, first + episodes)] for act in acts]
        )

    def _return(self, act: Act, seed: int) -> float:
        rng = np.random.default_rng(seed)
        actions = [act(self._states(1, rng)) for _ in range(self.length)]
        return sum(float(self._reward(action)[0]) for action in actions)


def _tuned(network: Network, visits: Reaching, **fields: Any) -> tuple[float, float, Network]:
    spec = FineTuning(**{"hold": 0.0} | fields)
    tuned = spec.apply(network, Given(teacher=network, visits=visits))
    acts = [partial(act, network), partial(act, tuned)]
    before, after = map(float, visits.returns(acts, 10).mean(axis=1))
    return before, after, tuned


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["float", "int8:static"])
@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_ppo_finds_what_is_rewarded(recipe: str, head: Any) -> None:
    network = make_network(3, 8, 2, head=head, activation="Tanh", normalized=False)
    network = network if recipe == "float" else compress(network, recipe)
    before, after, tuned = _tuned(
        network, Reaching([0.5, -0.5]), steps=30_000, rate=5e-3, deviation=0.2
    )
    assert after - before > 0.5 * (20 - before)
    assert isinstance(tuned.layers[0].weight, IntegerTensor) == (recipe != "float")


def test_ppo_finds_the_choice_that_is_rewarded() -> None:
    network = make_network(3, 8, 3, head="argmax", normalized=False)
    _, after, _ = _tuned(network, Reaching(1, discrete=True), steps=20_000, rate=2e-2)
    assert after > 18


def test_evolution_finds_what_is_rewarded() -> None:
    network = make_network(3, 2, normalized=False)
    before, after, _ = _tuned(
        network, Reaching([0.5, -0.5]), steps=20_000, by="es", rate=3e-3, deviation=0.3
    )
    assert after > before + 5


def test_what_is_no_better_than_before_stays_as_it_was() -> None:
    network = make_network(3, 8, 2, normalized=False)
    worse = np.zeros(2)
    visits = Reaching(worse)
    best = network.replace(
        layers=tuple(
            type(layer)(
                weight=np.zeros_like(layer.weight),
                bias=np.zeros_like(layer.bias),
                activation=layer.activation,
            )
            for layer in network.layers
        )
    )
    _, after, _ = _tuned(best, visits, steps=5_000, rate=0.1)
    assert after == 20


def test_observations_alone_have_no_reward() -> None:
    network = make_network(3, 2)
    with pytest.raises(SpecError, match=r"reward of an environment.*`env`"):
        FineTuning().apply(network, Given(teacher=network, observations=np.zeros((5, 3), "f4")))


class TestFineTuning:
    """What of `SpecContract` needs no environment."""

    texts: ClassVar = ["finetune:3m", "finetune:500000:by=es", "finetune:10:rate=0.001:hold=0"]

    def test_it_is_registered_and_comes_back_from_its_text_and_json(self) -> None:
        assert SPECS.get("finetune") is FineTuning
        for text in self.texts:
            spec = parse_spec(text)
            assert parse_spec(spec.text) == spec == spec_from_json(spec.to_json())
            assert spec.expect([]) == []
        assert parse_spec("finetune:3m") == FineTuning(steps=1_800_000)

    @pytest.mark.parametrize(
        "text", ["finetune:0", "finetune:5:rate=-1", "finetune:5:deviation=2", "finetune:5:hold=-1"]
    )
    def test_numbers_out_of_range_are_refused(self, text: str) -> None:
        with pytest.raises(SpecError):
            parse_spec(text)
