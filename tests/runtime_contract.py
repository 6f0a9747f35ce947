"""What every runtime has to keep; the test class of each inherits it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from random_networks import drawn_networks, networks
from small_policies import (
    compress,
    demo_network,
    demo_observations,
    make_network,
    random_observations,
)
from squeezerl.errors import InvalidArgumentError, SqueezeRLError
from squeezerl.formats.base import FORMATS
from squeezerl.network.arithmetic import act
from squeezerl.network.network import Network, parts_of
from squeezerl.runtimes.base import RUNTIMES, Actor, Payload, Runtime
from squeezerl.runtimes.noise import NoiseStreams

INHERITED = settings(suppress_health_check=[HealthCheck.differing_executors], max_examples=40)


class RuntimeContract:
    """`recipes` give networks that the runtime can run, `refused` those that it cannot.

    `heads` names an algorithm for each action head that the runtime can run; `tells_working_bytes`
    says whether the runtime knows the memory of its intermediate results, and `runs_rows_at_once`
    whether that grows with the batch.
    """

    runtime: ClassVar[Runtime]
    recipes: ClassVar[tuple[str, ...]] = ("float", "prune:l2:0.3")
    refused: ClassVar[tuple[str, ...]] = ("int8:dynamic", "int8:static")
    tells_working_bytes: ClassVar[bool] = True
    runs_rows_at_once: ClassVar[bool] = True
    heads: ClassVar[dict[str, str]] = {"clip": "ppo", "tanh": "sac", "argmax": "dqn"}

    def load(self, network: Network, algorithm: str | None = None) -> Actor:
        model = FORMATS.get("onnx").write(network)
        algorithm = algorithm or self.heads[network.head.kind]
        return self.runtime.load(Payload(network, model, algorithm))

    def acts_as_the_arithmetic_says(self, network: Network, observations: Any) -> None:
        actor, expected = self.load(network), act(network, observations)
        before = observations.copy()
        size = float(np.abs([network.head.low, network.head.high]).max(initial=1))
        for batch in (1, 5, len(observations)):
            for start in range(0, len(observations), batch):
                rows = slice(start, start + batch)
                actions = actor.act(observations[rows])
                assert isinstance(actions, np.ndarray)
                assert (actions.shape, actions.dtype) == (expected[rows].shape, expected.dtype)
                np.testing.assert_allclose(actions, expected[rows], rtol=0, atol=1e-4 * size)
        np.testing.assert_array_equal(observations, before)

    def test_it_is_registered_under_its_name(self) -> None:
        assert type(RUNTIMES.get(self.runtime.name)) is type(self.runtime)

    def test_its_library_can_be_imported(self) -> None:
        for algorithm in self.heads.values():
            self.runtime.import_library(algorithm)

    def test_it_acts_as_the_arithmetic_says(self) -> None:
        for recipe in self.recipes:
            network = compress(demo_network(), recipe, demo_observations())
            assert self.runtime.refusal(network, "ppo") is None
            self.acts_as_the_arithmetic_says(network, demo_observations()[:20])

    @INHERITED
    @given(network=networks(wild=False))
    def test_it_runs_any_network_that_it_does_not_refuse(self, network: Network) -> None:
        algorithm = self.heads[network.head.kind]
        if self.runtime.refusal(network, algorithm) is None:
            self.acts_as_the_arithmetic_says(network, random_observations(network, 6))
        else:
            with pytest.raises(SqueezeRLError):
                self.load(network)

    @INHERITED
    @given(network=drawn_networks(wild=False))
    def test_it_draws_the_actions_that_the_arithmetic_draws(self, network: Network) -> None:
        algorithm = self.heads[network.head.kind]
        if self.runtime.cannot_run(network, algorithm) is not None:
            return
        observations, actor = random_observations(network, 8), self.load(network)
        rows, seeds = np.array([5, 0, 3]), [11, 12, 13]
        streams = NoiseStreams(network)
        streams.seed(rows, seeds)
        actor.seed_noise(rows, seeds)
        actor.start(rows)
        size = float(np.abs([network.head.low, network.head.high]).max(initial=1))
        for part in (rows, rows[:2], rows[2:], rows[::-1]):
            some = observations[: len(part)]
            expected = act(network, some, noise=streams.draw(part))
            actions = actor.act(some, part)
            assert (actions.shape, actions.dtype) == (expected.shape, expected.dtype)
            # A last bit of difference before a rounding can become a step of it.
            near = abs(actions - expected).reshape(len(part), -1).max(axis=1) <= 1e-4 * size
            assert near.all() or network.is_quantized

    def test_what_it_refuses_it_does_not_load(self) -> None:
        for recipe in self.refused:
            network = compress(make_network(4, 8, 2), recipe)
            assert "int8 models run in ONNX Runtime only" in str(
                self.runtime.refusal(network, "ppo")
            )
            with pytest.raises(SqueezeRLError):
                self.load(network)

    def test_actions_have_the_shape_of_the_signature(self) -> None:
        for head in self.heads:
            network = make_network(6, 16, 4, head=head, observation_shape=(3, 2))  # type: ignore[arg-type]
            if head != "argmax":
                network = network.replace(action_shape=(2, 2))
            actor = self.load(network)
            assert actor.observation_shape == network.observation_shape
            assert actor.action_shape == network.action_shape
            assert actor.choices == network.choices
            self.acts_as_the_arithmetic_says(network, random_observations(network, 5))

    def test_several_choices_are_made_side_by_side(self) -> None:
        network = make_network(6, 16, 9, head="argmax", groups=(4, 2, 3))
        actor, observations = self.load(network, "ppo"), random_observations(network, 40)
        assert (actor.action_shape, actor.choices) == ((3,), (4, 2, 3))
        actions = actor.act(observations)
        assert (np.ptp(actions, axis=0) > 0).all()
        np.testing.assert_array_equal(actions, act(network, observations))

    @pytest.mark.parametrize("shape", [(), (6,), (5,), (20, 5), (20, 6, 1)])
    def test_observations_of_another_shape_are_refused_with_the_right_one(
        self, shape: tuple[int, ...]
    ) -> None:
        actor = self.load(make_network(6, 8, 3))
        with pytest.raises(InvalidArgumentError, match=r"\(n, 6\) needed"):
            actor.act(np.zeros(shape, np.float32))

    def test_a_dict_of_entries_is_the_flat_observation_that_they_make(self) -> None:
        parts = parts_of([("goal", (1,)), ("grid", (2, 2)), ("speed", (1,))])
        network = make_network(6, 8, 3)
        actor, flat = (
            self.load(network.replace(observation_parts=parts)),
            demo_observations()[:9, :6],
        )
        entries: dict[str, Any] = {
            part.name: flat[:, part.start : part.stop].reshape(9, *part.shape).astype(np.float64)
            for part in reversed(parts)
        }
        expected = actor.act(flat)
        np.testing.assert_array_equal(actor.act(entries | {"not seen": 1}), expected)
        one = {name: entry[:1] for name, entry in entries.items()}
        np.testing.assert_array_equal(actor.act(one), actor.act(flat[:1]))
        for wrong, message in (
            (
                {"goal": entries["goal"], "speed": entries["speed"]},
                "lacks grid; it has goal, speed",
            ),
            (entries | {"grid": entries["grid"].reshape(9, 4)}, r"'grid' .* shape \(n, 2, 2\)"),
            ({name: entry[0] for name, entry in entries.items()}, r"act\(\{name: entry\[None\]"),
            (entries | {"speed": entries["speed"][:1]}, "the same n"),
        ):
            with pytest.raises(InvalidArgumentError, match=message):
                actor.act(wrong)
        with pytest.raises(InvalidArgumentError, match="give an array"):
            self.load(network).act(entries)

    def test_no_observations_give_no_actions(self) -> None:
        for head in self.heads:
            network = make_network(6, 8, 3, head=head)  # type: ignore[arg-type]
            actor, none = self.load(network), random_observations(network, 20)[:0]
            for _ in range(2):
                actions = actor.act(none)
                assert actions.shape == (0, *network.action_shape)
                assert actions.dtype == act(network, none).dtype
                actor.act(random_observations(network, 20))

    def test_any_memory_layout_and_precision_will_do(self) -> None:
        network = make_network(6, 8, 3)
        actor, observations = self.load(network), random_observations(network, 20)
        expected = actor.act(observations)
        double: Any = observations.astype(np.float64)
        for given_ in (np.asfortranarray(observations), double):
            np.testing.assert_allclose(actor.act(given_), expected, rtol=0, atol=1e-6)
        for part in (slice(None, None, 2), slice(None, None, -1)):
            actions = actor.act(observations[part])
            np.testing.assert_allclose(actions, expected[part], rtol=0, atol=1e-6)

    def test_actions_are_new_arrays(self) -> None:
        network = make_network(6, 8, 3)
        actor, observations = self.load(network), random_observations(network, 20)
        first = actor.act(observations)
        copy = first.copy()
        actor.act(-observations)
        np.testing.assert_array_equal(first, copy)

    def test_rows_can_be_named_and_start_anew(self) -> None:
        network = make_network(6, 8, 3)
        actor, observations = self.load(network), random_observations(network, 3)
        expected = actor.act(observations)
        rows = np.array([7, 2, 5])
        actor.start(rows)
        np.testing.assert_array_equal(actor.act(observations, rows), expected)

    def test_measuring_its_memory_leaves_no_file_and_changes_no_action(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        network = make_network(6, 64, 32, 2)
        actor, observations = self.load(network), random_observations(network, 100)
        before = actor.act(observations)
        one, many = (actor.working_bytes(observations[:n]) for n in (1, 100))
        assert (one is not None) == (many is not None) == self.tells_working_bytes
        if one is not None and many is not None:
            assert 4 * 64 <= one <= 100 * 4 * 64
            assert many >= (100 * 4 * 64 if self.runs_rows_at_once else one)
        np.testing.assert_array_equal(actor.act(observations), before)
        assert list(tmp_path.iterdir()) == []
        if not self.runtime.is_gpu:
            assert actor.gpu_memory() is None
