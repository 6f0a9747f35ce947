from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn
from trainings import make_sb3

from squeezerl.artifacts.audit import layer_records
from squeezerl.errors import InvalidArgumentError, SpecError
from squeezerl.methods.fake_quantization import FakeQuantizedLinear
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.training.algorithms import check_supports_qat, find_algorithm
from squeezerl.training.config import QatConfig
from squeezerl.training.model import network_of
from squeezerl.training.qat import FakeQuantizedActor
from thrusters import SWITCHES, THRUSTERS

pytestmark = pytest.mark.slow

Array = npt.NDArray[Any]
ON_POLICY = ("ppo", "trpo", "a2c")
OFF_POLICY = ("sac", "tqc", "td3", "ddpg", "dqn")
FLOAT_STEPS, INT8_STEPS = 32, 32


class _EndOfRollout(BaseCallback):
    def __init__(self, call: Callable[[Any], None]) -> None:
        super().__init__()
        self._call = call

    def _on_rollout_end(self) -> None:
        self._call(self.model)

    def _on_step(self) -> bool:
        return True


def _make(name: str, *, normalized: bool | None = None, **settings: Any) -> Any:
    on_policy = name in ON_POLICY
    if on_policy:
        settings = {"n_steps": 32, **settings}
        if name != "a2c":
            settings = {"batch_size": 32, **settings}
    else:
        settings = {"buffer_size": 500, "learning_starts": 10, "batch_size": 16, **settings}
    if name == "dqn":
        settings["gradient_steps"] = 4
    settings["policy_kwargs"] = {"net_arch": [32, 32], **settings.get("policy_kwargs", {})}
    return make_sb3(name, normalized=on_policy if normalized is None else normalized, **settings)


def _settings(critic: bool = False, **spec: Any) -> QatConfig:
    return QatConfig(spec=QuantizationAwareTraining(**spec), critic=critic)


def _trained(model: Any, name: str, settings: QatConfig | None = None) -> FakeQuantizedActor:
    """A short training in float, and a shorter one in int8."""
    qat = FakeQuantizedActor(model, find_algorithm(name), settings or _settings())
    model.learn(FLOAT_STEPS)
    qat.end_window()
    qat.enable()
    model.learn(INT8_STEPS, reset_num_timesteps=False)
    return qat


def _raw_observations(model: Any, count: int = 250) -> Array:
    """What the model meets in an episode, before any normaliser."""
    env = gymnasium.make(model.env.envs[0].spec.id)
    normalizer = model.get_vec_normalize_env()
    observation, _ = env.reset(seed=3)
    seen = []
    while len(seen) < count:
        seen.append(observation)
        given = observation if normalizer is None else normalizer.normalize_obs(observation)
        action, _ = model.predict(given, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    return np.array(seen, dtype=np.float32)


def _predicted(model: Any, observations: Array) -> Array:
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        observations = normalizer.normalize_obs(observations)
    return model.predict(observations, deterministic=True)[0]


def _deployed(model: Any, name: str, qat: FakeQuantizedActor) -> Actor:
    return load_network(qat.export(network_of(model, find_algorithm(name))))


def _agree(model: Any, name: str, qat: FakeQuantizedActor) -> None:
    observations = _raw_observations(model)
    expected = _predicted(model, observations)
    actions = _deployed(model, name, qat).act(observations)
    if np.issubdtype(actions.dtype, np.integer):
        assert (actions == expected).mean() >= 0.99
        return
    errors = abs(actions - expected)
    assert (errors < 1e-5).mean() >= 0.99
    # A value on the edge between two steps can fall to either side.
    assert errors.max() < 0.1


@pytest.mark.parametrize("name", [*ON_POLICY, *OFF_POLICY])
def test_the_integer_policy_acts_as_the_model_and_the_optimizer_still_moves_its_weights(
    name: str,
) -> None:
    model = _make(name)
    before = {id(parameter) for parameter in model.policy.parameters()}
    qat = _trained(model, name)
    assert qat.is_enabled
    _agree(model, name, qat)

    assert {id(parameter) for parameter in model.policy.parameters()} == before
    layers = [m for m in model.policy.modules() if isinstance(m, FakeQuantizedLinear)]
    assert len(layers) == 3
    weights = [layer.weight.detach().clone() for layer in layers]
    model.learn(INT8_STEPS, reset_num_timesteps=False)
    assert qat.is_enabled
    for layer, old in zip(layers, weights, strict=True):
        assert not torch.equal(layer.weight, old)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppo", {"normalized": False}),
        ("sac", {"normalized": True}),
        ("sac", {"use_sde": True}),
        ("a2c", {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
        ("ppo", {"policy_kwargs": {"net_arch": []}}),
        ("td3", {"policy_kwargs": {"activation_fn": nn.Tanh}}),
        ("ppo", {"policy_kwargs": {"activation_fn": nn.GELU}}),
        ("sac", {"policy_kwargs": {"activation_fn": nn.PReLU}}),
        ("ppo", {"env_id": THRUSTERS}),
        ("a2c", {"env_id": SWITCHES}),
    ],
)
def test_the_integer_policy_acts_as_unusual_models_do(name: str, settings: dict[str, Any]) -> None:
    model = _make(name, **settings)
    _agree(model, name, _trained(model, name))


@pytest.mark.parametrize("name", ["ppo", "sac"])
@pytest.mark.parametrize(
    "spec", [{"per_channel": False, "per_feature": False}, {"keep": ("layer0",)}]
)
def test_the_integer_policy_acts_as_its_spec_says(name: str, spec: dict[str, Any]) -> None:
    model = _make(name)
    _agree(model, name, _trained(model, name, _settings(**spec)))


def test_int8_changes_the_actions() -> None:
    # Otherwise the tests above would hold for a policy in float, too.
    model = _make("ppo")
    qat = FakeQuantizedActor(model, find_algorithm("ppo"), _settings())
    model.learn(FLOAT_STEPS)
    observations = _raw_observations(model)
    before = _predicted(model, observations)
    qat.end_window()
    qat.enable()
    assert (abs(_predicted(model, observations) - before) > 1e-5).mean() > 0.5


@pytest.mark.parametrize("name", ["ppo", "sac", "dqn"])
def test_the_names_of_the_weights_stay_those_of_the_float_model(name: str) -> None:
    model = _make(name)
    before = list(model.policy.state_dict())
    FakeQuantizedActor(model, find_algorithm(name), _settings(critic=True))
    assert list(model.policy.state_dict()) == before


def test_until_enabled_training_is_that_in_float() -> None:
    plain = _make("ppo").learn(FLOAT_STEPS)
    watched = _make("ppo")
    FakeQuantizedActor(watched, find_algorithm("ppo"), _settings())
    watched.learn(FLOAT_STEPS)
    for ours, theirs in zip(watched.policy.parameters(), plain.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_layer_that_is_kept_stays_as_it_is() -> None:
    model = _make("sac")
    qat = FakeQuantizedActor(model, find_algorithm("sac"), _settings(keep=("layer0",)))
    kinds = [type(m) for m in model.actor.latent_pi if not isinstance(m, nn.ReLU)]
    assert kinds == [nn.Linear, FakeQuantizedLinear]
    assert isinstance(model.actor.mu, FakeQuantizedLinear)
    model.learn(FLOAT_STEPS)
    qat.end_window()
    records = layer_records(qat.export(network_of(model, find_algorithm("sac"))))
    assert [record.weight_dtype for record in records] == ["float32", "int8", "int8"]


def test_keeping_a_layer_that_does_not_exist_is_refused_and_changes_nothing() -> None:
    model = _make("sac")
    with pytest.raises(SpecError, match=r"\['layer7'\]; the layers are layer0, layer1, layer2"):
        FakeQuantizedActor(model, find_algorithm("sac"), _settings(keep=("layer0", "layer7")))
    assert not any(isinstance(m, FakeQuantizedLinear) for m in model.policy.modules())


def test_quantile_networks_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"QR-DQN .* use dqn"):
        check_supports_qat(find_algorithm("qrdqn"))


@pytest.mark.parametrize(
    ("name", "layers"), [("ppo", 3), ("sac", 6), ("td3", 6), ("tqc", 6), ("dqn", 0)]
)
def test_the_critic_can_be_trained_in_int8_too(name: str, layers: int) -> None:
    model = _make(name)
    qat = _trained(model, name, _settings(critic=True))
    quantized = [m for m in model.policy.modules() if isinstance(m, FakeQuantizedLinear)]
    assert len(quantized) == 3 + layers
    assert all(layer.is_ready and layer.enabled for layer in quantized)
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())
    assert qat.is_enabled
    _agree(model, name, qat)


def test_the_state_goes_on_in_another_model() -> None:
    model = _make("ppo")
    qat = _trained(model, "ppo", _settings(critic=True))
    other = _make("ppo")
    again = FakeQuantizedActor(other, find_algorithm("ppo"), _settings(critic=True))
    assert not again.is_ready
    again.load_state(qat.state())
    other.policy.load_state_dict(model.policy.state_dict())
    assert again.is_enabled
    observations = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        other.predict(observations, deterministic=True)[0],
        model.predict(observations, deterministic=True)[0],
    )
    torch.testing.assert_close(
        other.policy.predict_values(torch.from_numpy(observations)),
        model.policy.predict_values(torch.from_numpy(observations)),
        rtol=0,
        atol=0,
    )


def test_a_state_before_anything_was_seen_goes_on_too() -> None:
    qat = FakeQuantizedActor(_make("sac"), find_algorithm("sac"), _settings())
    again = FakeQuantizedActor(_make("sac"), find_algorithm("sac"), _settings())
    again.load_state(qat.state())
    assert not again.is_ready
    assert not again.is_enabled


@pytest.mark.parametrize("name", ["ppo", "trpo"])
def test_at_the_start_of_an_update_the_policy_is_the_one_that_acted(name: str) -> None:
    model = _make(name)
    differences: list[Array] = []

    def compare(model: Any) -> None:
        model.policy.set_training_mode(True)
        data = next(model.rollout_buffer.get(None))
        _, log_prob, _ = model.policy.evaluate_actions(data.observations, data.actions)
        differences.append(abs(log_prob - data.old_log_prob).detach().numpy())

    qat = _trained(model, name)
    model.learn(INT8_STEPS, callback=_EndOfRollout(compare), reset_num_timesteps=False)
    assert qat.is_enabled
    (difference,) = differences
    assert (difference < 1e-5).mean() > 0.95
    assert difference.max() < 0.05


def test_the_line_search_of_trpo_succeeds_in_int8() -> None:
    model = _make("trpo", n_steps=256, batch_size=64)
    results = []

    def remember(model: Any) -> None:
        values = model.logger.name_to_value
        results.append((values["train/is_line_search_success"], values["train/kl_divergence_loss"]))

    class _AfterUpdate(_EndOfRollout):
        def _on_rollout_start(self) -> None:
            if self.model._n_updates:
                self._call(self.model)

        def _on_rollout_end(self) -> None:
            pass

    qat = FakeQuantizedActor(model, find_algorithm("trpo"), _settings())
    model.learn(256)
    qat.end_window()
    qat.enable()
    callback = _AfterUpdate(remember)
    model.learn(5 * 256, callback=callback, reset_num_timesteps=False, log_interval=1000)
    remember(model)
    assert len(results) >= 5
    successes, divergences = zip(*results[1:], strict=True)
    assert np.mean(successes) >= 0.75
    assert 0 < max(divergences) <= model.target_kl * 1.5
