from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from small_policies import compress, demo_network, demo_observations, make_network, with_layer
from spec_contract import SpecContract
from squeezerl.errors import SpecError
from squeezerl.methods.base import Given, Spec, parse_spec
from squeezerl.methods.distillation import Distillation, without_normalizer
from squeezerl.methods.imitation import ActionError, softmax
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.recovery import Recovery
from squeezerl.methods.student import outputs_of
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Head, Network, Sampling

STEPS = st.integers(1, 20)
RATES = st.sampled_from([1e-3, 3e-3])


class LearningContract(SpecContract):
    """Of a spec whose fields include `steps` and `rate`."""

    required: ClassVar[dict[str, Any]] = {}

    def _some_spec(self) -> Spec:
        return self.spec.from_fields(self.required | {"steps": 2})

    @pytest.mark.parametrize("value", [None, {}, "odd", [[]]])
    def test_fields_of_another_type_are_refused(self, value: Any) -> None:
        super().test_fields_of_another_type_are_refused(value)


class TestRecovery(LearningContract):
    spec = Recovery
    specs: ClassVar = st.builds(Recovery, steps=STEPS, rate=RATES)


class TestDistillation(LearningContract):
    spec = Distillation
    specs: ClassVar = st.builds(
        Distillation,
        widths=st.sampled_from([(0,), (3,), (6, 5)]),
        activation=st.sampled_from(["relu", "tanh"]),
        input=st.sampled_from(["plain", "skip"]),
        head=st.sampled_from(["same", "clip", "tanh"]),
        normalizer=st.sampled_from(["keep", "fold"]),
        steps=STEPS,
        rate=RATES,
    )
    required: ClassVar = {"widths": (4,)}


@pytest.mark.parametrize(
    "text",
    [
        *("recover:0", "recover:3h", "recover:5:rate=0", "recover:5:rate=2", "distill:"),
        *("distill:4x0", "distill:-1", "distill:4:sigmoid", "distill:4:steps=0"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_spec(text)


def test_budgets_in_time_are_so_many_steps() -> None:
    assert parse_spec("recover:30s") == Recovery(steps=30_000)
    assert parse_spec("distill:8:relu:steps=1.5m") == Distillation(widths=(8,), steps=90_000)
    assert Recipe.of("distill:24x24:relu").steps[0].widths == (24, 24)  # type: ignore[attr-defined]


def test_recovery_brings_back_the_actions_of_a_pruned_policy() -> None:
    network, seen = demo_network(), demo_observations()
    wanted = act(network, seen)
    pruned = compress(network, "prune:l2:0.5")
    given = Given(teacher=network, observations=seen)
    recovered = Recovery(steps=300).apply(pruned, given)
    error = [float(np.abs(act(each, seen) - wanted).mean()) for each in (pruned, recovered)]
    assert error[1] < 0.5 * error[0]


@pytest.mark.parametrize("head", ["clip", "tanh"])
def test_a_distilled_policy_acts_as_the_agent_does(head: Any) -> None:
    network, seen = demo_network(), demo_observations()
    spec = Distillation(widths=(16,), head=head, steps=1_000)
    student = spec.apply(network, Given(teacher=network, observations=seen))
    wanted = act(network, seen)
    assert np.abs(act(student, seen) - wanted).mean() < 0.4 * np.abs(wanted - wanted.mean(0)).mean()
    assert student.head.kind == head


def test_a_distilled_choice_is_that_of_the_agent() -> None:
    network = make_network(4, 32, 3, head="argmax", normalized=False)
    seen = np.random.default_rng(0).normal(size=(2_000, 4)).astype(np.float32)
    spec = Distillation(widths=(12,), steps=2_500)
    student = spec.apply(network, Given(teacher=network, observations=seen))
    assert (act(student, seen) == act(network, seen)).mean() > 0.9


def test_a_normaliser_can_be_a_part_of_the_weights() -> None:
    network, seen = demo_network(), demo_observations()
    weight = np.random.default_rng(0).normal(size=(6, 8 + 17)).astype(np.float32)
    plain = make_network(17, 8, 6).replace(normalizer=network.normalizer)
    skipping = with_layer(plain, 1, weight=weight, skip=True)
    folded = without_normalizer(skipping)
    assert folded.normalizer is None
    np.testing.assert_allclose(act(folded, seen), act(skipping, seen), atol=1e-3)


@pytest.mark.parametrize("kind", ["clip", "tanh"])
@pytest.mark.parametrize("own", [False, True])
def test_the_deviation_of_a_policy_that_draws_is_kept(kind: Any, own: bool) -> None:
    deviation = None if own else np.full(2, 0.3, np.float32)
    plain = make_network(4, 32, 4 if own else 2, head=kind)
    bounds = {"low": np.full(2, -1, np.float32), "high": np.full(2, 1, np.float32)}
    network = plain.replace(
        head=Head(kind=kind, sampling=Sampling(deviation=deviation), **bounds), action_shape=(2,)
    )
    seen = np.random.default_rng(0).normal(size=(2_000, 4)).astype(np.float32)
    spec = Distillation(widths=(32,), steps=1_500)
    student = spec.apply(network, Given(teacher=network, observations=seen))
    noise = np.ones((len(seen), 2), np.float32)
    wanted, found = (act(each, seen, noise=noise) for each in (network, student))
    assert np.abs(wanted - found).mean() < 0.15


def test_the_probabilities_of_a_policy_that_draws_are_kept() -> None:
    network = make_network(4, 32, 3, head="argmax")
    network = network.replace(head=Head(kind="argmax", sampling=Sampling()))
    seen = np.random.default_rng(0).normal(size=(2_000, 4)).astype(np.float32)
    spec = Distillation(widths=(16,), steps=1_000)
    student = spec.apply(network, Given(teacher=network, observations=seen))
    wanted, found = (softmax(each.head, outputs_of(each, seen)) for each in (network, student))
    assert np.abs(wanted - found).max(axis=1).mean() < 0.06


def test_it_is_the_same_again_with_the_same_seed_and_another_one_with_another() -> None:
    network, seen = demo_network(), demo_observations()
    spec = Distillation(widths=(4,), steps=20)
    made = [
        spec.apply(network, Given(teacher=network, observations=seen, seed=seed)).sha256
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]


def test_it_is_the_same_with_any_number_of_threads() -> None:
    network = make_network(376, 256, 256, 17)
    observations = np.random.default_rng(0).normal(size=(2_000, 376)).astype(np.float32)
    given = Given(teacher=network, observations=observations)
    made = set()
    for count in (1, 4):
        with threadpool_limits(count, user_api="blas"):
            made.add(parse_spec("recover:60").apply(compress(network, "l2:0.3"), given).sha256)
    assert len(made) == 1


def test_beyond_a_bound_that_the_agent_is_at_nothing_is_wrong() -> None:
    head = Head(kind="clip", low=np.float32([-2, -2]), high=np.float32([2, 2]))
    slope = ActionError(head, head).slope(
        np.float32([[5, 5], [5, -5], [-5, 1]]), np.float32([[2, 1], [-2, -2], [2, 2]])
    )
    np.testing.assert_array_equal(np.sign(slope), [[0, 1], [1, 0], [-1, -1]])


def test_the_slope_of_several_choices_is_that_of_the_sum_of_their_cross_entropies() -> None:
    head = Head(kind="argmax", groups=(3, 2))
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(4, 5)), np.eye(5)[[0, 1, 2, 0]] + np.eye(5)[[3, 4, 4, 3]]

    def loss(given: Any) -> Any:
        return -(targets * np.log(softmax(head, given))).sum(axis=1)

    slope = ActionError(head, head).slope(outputs.astype(np.float32), targets.astype(np.float32))
    for column, step in enumerate(1e-6 * np.eye(5)):
        numeric = (loss(outputs + step) - loss(outputs - step)) / 2e-6
        np.testing.assert_allclose(slope[:, column], numeric, rtol=0, atol=1e-5)


def test_a_spec_says_that_it_can_learn_from_observations_or_an_environment() -> None:
    def apply(network: Network) -> Network:
        return Recovery(steps=1).apply(network, Given(teacher=network))

    with pytest.raises(SpecError, match=r"needs observations.*environment"):
        apply(demo_network())
