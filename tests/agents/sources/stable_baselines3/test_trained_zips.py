"""What zips show that Stable-Baselines3 wrote after some steps of training."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from checkpoint_files import change_metadata
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import squeezerl
from made_agents import SpacesOnly
from onnx_runner import onnx_actions
from squeezerl import load_agent
from squeezerl.errors import CheckpointError, EnvError, SqueezeRLWarning
from squeezerl.evaluation.environment import Environment
from squeezerl.network.arithmetic import act

Make = Callable[..., Path]


class Renamed(VecNormalize):
    """A subclass with an attribute of a class that nobody else knows."""

    def __init__(self, *given: Any, **keywords: Any) -> None:
        super().__init__(*given, **keywords)
        self.mine = Mine()


class Mine:
    pass


def _learn(algorithm: str, env: Any, **policy_kwargs: Any) -> Any:
    settings: dict[str, Any] = {"buffer_size": 50, "learning_starts": 5}
    if algorithm in ("PPO", "A2C"):
        settings = {"n_steps": 8} | ({"batch_size": 8} if algorithm == "PPO" else {})
    model = getattr(sb3, algorithm)(
        "MlpPolicy",
        env,
        device="cpu",
        seed=0,
        policy_kwargs={"net_arch": [4]} | policy_kwargs,
        **settings,
    )
    return model.learn(16)


def _normalized(env_id: str, **keywords: Any) -> VecNormalize:
    return VecNormalize(DummyVecEnv([lambda: gym.make(env_id)]), **keywords)


# Bounds

THIRDS = np.float32([-1 / 3, -2 / 3, 1e-5]), np.float32([1 / 3, 123.456789, 2e-5])


def _zip_with_bounds(folder: Path, options: dict[str, Any], bounds: Any = THIRDS) -> Path:
    env = SpacesOnly(Box(-1, 1, (3,)), Box(*bounds))
    model = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"net_arch": []})
    with np.printoptions(**options):
        model.save(folder / "agent.zip")
    return folder / "agent.zip"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": 2},
        {"precision": 3},
        {"precision": 3, "suppress": True},
        {"precision": 0, "suppress": True, "floatmode": "fixed"},
        {"threshold": 1, "edgeitems": 1},
        {"formatter": {"float": lambda x: "many"}},
        {"formatter": {"float": lambda x: f"{x:+.1f}"}},
        {"legacy": "1.13", "precision": 4},
    ],
)
def test_bounds_are_exact_however_the_script_printed_arrays(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    head = load_agent(_zip_with_bounds(tmp_path, options)).network.head
    np.testing.assert_array_equal([head.low, head.high], THIRDS)


def _damage_pickles(data: dict[str, Any]) -> None:
    for name in ("action_space", "observation_space"):
        data[name][":serialized:"] = "gASVAAAA"


@pytest.mark.parametrize("options", [{"precision": 3}, {"precision": 2, "suppress": True}])
def test_text_that_may_have_lost_digits_is_refused_where_there_is_nothing_else(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = _zip_with_bounds(tmp_path, options)
    change_metadata(path, _damage_pickles)
    with pytest.raises(CheckpointError, match="may have lost digits"):
        load_agent(path)


@pytest.mark.parametrize(
    "bounds", [(np.float32([-1, -2, 0]), np.float32([1, 2, 3])), (THIRDS[0] - 1, THIRDS[1])]
)
def test_whole_text_is_read_where_there_is_nothing_else(tmp_path: Path, bounds: Any) -> None:
    path = _zip_with_bounds(tmp_path, {}, bounds)
    change_metadata(path, _damage_pickles)
    head = load_agent(path).network.head
    np.testing.assert_allclose([head.low, head.high], bounds, rtol=1e-6)


# The normaliser


@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [("PPO", "CartPole-v1"), ("A2C", "Pendulum-v1"), ("SAC", "Pendulum-v1")],
)
def test_a_missing_normaliser_stops_unless_the_user_insists(
    tmp_path: Path, algorithm: str, env_id: str
) -> None:
    env, path = _normalized(env_id), tmp_path / "agent.zip"
    model = _learn(algorithm, env)
    if algorithm == "SAC":  # one observation shows it only where it leaves the space's bounds
        model._last_obs = model._last_obs + 10
    model.save(path)
    with pytest.raises(CheckpointError, match=r"VecNormalize|normalised.*`vecnormalize=none`"):
        load_agent(path)
    assert load_agent(path, vecnormalize="none").network.normalizer is None
    env.save(tmp_path / "elsewhere.pickle")
    given = load_agent(path, vecnormalize=tmp_path / "elsewhere.pickle").network
    assert given.normalizer is not None


@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [("PPO", "CartPole-v1"), ("SAC", "Pendulum-v1"), ("DQN", "CartPole-v1")],
)
def test_agents_that_learned_from_raw_observations_are_not_stopped(
    tmp_path: Path, algorithm: str, env_id: str
) -> None:
    _learn(algorithm, gym.make(env_id)).save(tmp_path / "agent.zip")
    assert load_agent(tmp_path / "agent.zip").network.normalizer is None


@pytest.mark.parametrize("with_settings", [False, True])
def test_a_normaliser_of_another_agent_in_the_folder_is_not_used(
    tmp_path: Path, with_settings: bool
) -> None:
    _normalized("Pendulum-v1").save(tmp_path / "vecnormalize.pkl")
    algorithm = "PPO"
    if with_settings:
        algorithm = "SAC"  # whose zip does not show it
        (tmp_path / "agent").mkdir()
        (tmp_path / "agent/config.yml").write_text("normalize: false")
    _learn(algorithm, gym.make("Pendulum-v1")).save(path := tmp_path / "agent.zip")
    with pytest.warns(SqueezeRLWarning, match=r"vecnormalize\.pkl beside it is not used"):
        assert load_agent(path).network.normalizer is None
    given = load_agent(path, vecnormalize=tmp_path / "vecnormalize.pkl").network
    assert given.normalizer is not None


def test_a_normaliser_of_rewards_alone_is_nothing_to_warn_of(tmp_path: Path) -> None:
    env = _normalized("Pendulum-v1", norm_obs=False)
    _learn("PPO", env).save(tmp_path / "agent.zip")
    env.save(tmp_path / "vecnormalize.pkl")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SqueezeRLWarning)
        assert load_agent(tmp_path / "agent.zip").network.normalizer is None


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_an_agent_that_may_lack_its_normaliser_is_compared_with_knowing_nothing(
    tmp_path: Path, shift: float
) -> None:
    """The zip of a DQN does not show what was normalised, and nobody watched its returns."""
    env, path = _normalized("CartPole-v1"), tmp_path / "agent.zip"
    model = _learn("DQN", env)
    env.obs_rms.mean[:], env.obs_rms.var[:] = (0, 0, 0, shift), 1
    state = {name: torch.zeros_like(tensor) for name, tensor in model.policy.state_dict().items()}
    for net in ("q_net", "q_net_target"):  # pushes to where the pole is going to fall
        state[f"{net}.q_net.0.weight"][:2, 2:] = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
        state[f"{net}.q_net.0.bias"][:2] = torch.tensor([shift, -shift])
        state[f"{net}.q_net.2.weight"][:, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    model.policy.load_state_dict(state)
    model._last_obs = model._last_original_obs  # within the bounds of the space
    model.save(path)
    assert load_agent(path).source.may_lack_normalizer
    assert not load_agent(path, vecnormalize="none").source.may_lack_normalizer
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        squeezerl.evaluate(path, env="CartPole-v1", episodes=10)
    texts = [str(w.message) for w in said if issubclass(w.category, SqueezeRLWarning)]
    assert any("VecNormalize (`vecnormalize`)" in text for text in texts) == (shift > 0)
    env.save(tmp_path / "vecnormalize.pkl")
    assert squeezerl.evaluate(path, env="CartPole-v1", episodes=10).mean_return > 400


def test_rewards_alone_normalised_is_named_as_a_reason_to_insist(tmp_path: Path) -> None:
    _learn("PPO", _normalized("CartPole-v1", norm_obs=False)).save(tmp_path / "agent.zip")
    with pytest.raises(CheckpointError, match=r"if only rewards were normalised \(norm_obs=False"):
        load_agent(tmp_path / "agent.zip")


@pytest.mark.parametrize(
    "name", ["vec_norm_stats.pkl", "vecnormalize_stats.pkl", "my_normalize_env.pkl"]
)
def test_a_normaliser_of_another_name_is_found_and_named(tmp_path: Path, name: str) -> None:
    env, path = _normalized("CartPole-v1"), tmp_path / "agent.zip"
    _learn("PPO", env).save(path)
    env.save(tmp_path / name)
    with pytest.warns(SqueezeRLWarning, match=name):
        agent = load_agent(path)
    assert agent.network.normalizer is not None
    assert agent.source.files[1].name == name

    shutil.copy(tmp_path / name, tmp_path / "other_vecnormalize_5_steps.pkl")  # of other_5_steps
    with pytest.warns(SqueezeRLWarning, match=name):
        load_agent(path)
    shutil.copy(tmp_path / name, tmp_path / "second_normalizer.pkl")
    with pytest.raises(CheckpointError, match=r"several files.*second_normalizer\.pkl"):
        load_agent(path)


def test_a_normaliser_beside_an_agent_of_raw_observations_is_not_taken(tmp_path: Path) -> None:
    _normalized("CartPole-v1").save(tmp_path / "vec_norm_stats.pkl")
    _learn("PPO", gym.make("CartPole-v1")).save(tmp_path / "agent.zip")
    assert load_agent(tmp_path / "agent.zip").network.normalizer is None


def test_a_subclass_of_vecnormalize_is_read_and_named(tmp_path: Path) -> None:
    env = Renamed(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    model = _learn("PPO", env)
    model.save(tmp_path / "agent.zip")
    env.save(tmp_path / "vecnormalize.pkl")
    with pytest.warns(SqueezeRLWarning, match=r"Renamed.*derives from"):
        network = load_agent(tmp_path / "agent.zip").network
    observations = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    expected = model.predict(env.normalize_obs(observations), deterministic=True)[0]
    np.testing.assert_array_equal(act(network, observations), expected)


def test_a_large_vecnormalize_is_read(tmp_path: Path) -> None:
    env = _normalized("CartPole-v1")
    _learn("PPO", env).save(tmp_path / "agent.zip")
    env.old_obs = np.zeros((5_000, 900), np.float32)
    env.save(tmp_path / "vecnormalize.pkl")
    assert (tmp_path / "vecnormalize.pkl").stat().st_size > 17_000_000
    assert load_agent(tmp_path / "agent.zip").network.normalizer is not None


def test_a_path_stands_once_in_each_message(tmp_path: Path) -> None:
    path, file = tmp_path / "agent.zip", tmp_path / "vecnormalize.pkl"
    _learn("PPO", _normalized("CartPole-v1")).save(path)
    with pytest.raises(CheckpointError) as caught:
        load_agent(path)
    assert str(caught.value).count(str(path)) == 1
    for content in (b"", b"\x80\x04cos\nmkdir\n(tR.", b"\x80\x04}."):
        file.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load_agent(path)
        assert str(caught.value).count(str(file)) == 1
    with file.open("wb") as large:
        large.truncate(600 * 2**20)
    with pytest.raises(CheckpointError, match="larger than any") as caught:
        load_agent(path)
    assert str(caught.value).count(str(file)) == 1


# Stacked observations


@pytest.mark.parametrize("settings", ["", "frame_stack: 3"])
@pytest.mark.parametrize("normalizes", [True, False])
def test_an_agent_of_the_zoo_plays_with_stacked_observations_as_it_was_trained(
    tmp_path: Path, settings: str, normalizes: bool
) -> None:
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")])
    normalized = VecNormalize(env, norm_reward=False) if normalizes else env
    stacked = VecFrameStack(normalized, 3)
    model = _learn("PPO", stacked)
    folder = tmp_path / "ppo" / "CartPole-v1_1"
    path, beside = folder / "CartPole-v1.zip", folder / "CartPole-v1"
    model.save(path)
    beside.mkdir()
    normalize = f"normalize: {normalizes}"
    (beside / "config.yml").write_text(f"{normalize}\n{settings}\n")
    (beside / "args.yml").write_text("env: CartPole-v1\n")
    if normalizes:
        normalized.training = False
        normalized.save(beside / "vecnormalize.pkl")
    elif not settings:  # nothing says that observations were stacked, but there is the advice
        with pytest.raises(EnvError) as caught:
            squeezerl.evaluate(folder, episodes=1)
        assert caught.value.try_with == {"frame_stack": 3}
        return
    expected = []
    for seed in range(5):
        stacked.seed(seed)
        observations, done, count = stacked.reset(), [False], 0
        while not done[0]:
            action = model.predict(observations, deterministic=True)[0]
            observations, _, done, _ = stacked.step(action)
            count += 1
        expected.append(count)
    assert squeezerl.evaluate(folder, episodes=5).record.returns == expected
    small = squeezerl.compress(folder, "bits:8")
    assert small.network.observation_shape == (12,)


# Images


@pytest.mark.parametrize("shape", [(6, 8, 3), (3, 6, 8), (8, 8, 1)])
@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
@pytest.mark.parametrize("divides", [True, False])
def test_an_mlp_over_images_acts_as_in_stable_baselines3(
    tmp_path: Path, shape: tuple[int, ...], algorithm: str, divides: bool
) -> None:
    env = SpacesOnly(Box(0, 255, shape, np.uint8), Box(-1, 1, (2,)))
    model = _learn(algorithm, env, normalize_images=divides)
    model.save(tmp_path / "agent.zip")
    network = load_agent(tmp_path / "agent.zip").network
    space = model.observation_space  # Stable-Baselines3 puts channels first
    assert network.observation_shape == space.shape
    rng = np.random.default_rng(0)
    # Undivided, 255 would send the tanh of a SAC to its end.
    observations = rng.integers(0, 256 if divides else 4, (50, *space.shape), dtype=np.uint8)
    expected = model.predict(observations, deterministic=True)[0]
    assert np.ptp(expected) > 0
    for actions in (act(network, observations), onnx_actions(network, observations)):
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


class Patches(gym.Env[Any, Any]):
    """Images of noise; what an action earns stands in their corner."""

    action_space = Discrete(3)

    def __init__(self, shape: tuple[int, ...], render_mode: str | None = None) -> None:
        self.observation_space = Box(0, 255, shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: Any) -> Any:
        earned = float(self._now.reshape(-1)[action])
        return self._image(), earned, False, False, {}

    def _image(self) -> Any:
        self._now = self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)
        return self._now


gym.register("Patches-v0", Patches, max_episode_steps=20)


@pytest.mark.parametrize("shape", [(6, 8, 3), (3, 6, 8), (8, 8, 1), (4, 4, 4)])
def test_an_mlp_over_images_plays_wherever_their_channels_stand(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    env = DummyVecEnv([lambda: gym.make("Patches-v0", shape=shape)])
    model = _learn("PPO", env)
    model.save(tmp_path / "agent.zip")
    expected = []
    for seed in range(3):
        env.seed(seed)
        observations, done, earned = env.reset(), [False], 0.0
        while not done[0]:
            action = model.predict(observations, deterministic=True)[0]
            observations, reward, done, _ = env.step(action)
            earned += float(reward[0])
        expected.append(earned)
    agent = load_agent(tmp_path / "agent.zip")
    place = Environment.find("Patches-v0", {**agent.source.env_kwargs, "shape": shape})
    assert squeezerl.evaluate(agent, env=place, episodes=3).record.returns == expected
    small = squeezerl.compress(agent, "bits:8", env=place)
    assert squeezerl.evaluate(small, env=place, episodes=3).mean_return > 0


def test_bytes_in_three_dimensions_with_other_bounds_are_no_image(tmp_path: Path) -> None:
    model = _learn("PPO", SpacesOnly(Box(0, 7, (2, 3, 4), np.uint8), Box(-1, 1, (2,))))
    model.save(tmp_path / "agent.zip")
    observations = np.random.default_rng(0).integers(0, 8, (50, 2, 3, 4), dtype=np.uint8)
    expected = model.predict(observations, deterministic=True)[0]
    actions = act(load_agent(tmp_path / "agent.zip").network, observations)
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def test_a_cnn_is_still_refused(tmp_path: Path) -> None:
    env = SpacesOnly(Box(0, 255, (36, 36, 1), np.uint8), Box(-1, 1, (2,)))
    model = sb3.PPO("CnnPolicy", env, n_steps=8, batch_size=8, device="cpu")
    model.save(tmp_path / "agent.zip")
    with pytest.raises(Exception, match="CNN"):
        load_agent(tmp_path / "agent.zip")


# What a zip cannot tell


def test_it_is_said_where_the_activation_came_from(tmp_path: Path) -> None:
    model = _learn("PPO", gym.make("CartPole-v1"))
    model.policy.mlp_extractor.policy_net[1] = torch.nn.ReLU()
    model.save(tmp_path / "agent.zip")
    agent = load_agent(tmp_path / "agent.zip")
    assert agent.network.layers[0].activation == "Tanh"  # nothing in the zip says otherwise
    assert str(agent.source.activation_from).startswith("the default")
    _learn("PPO", gym.make("CartPole-v1"), activation_fn=torch.nn.ReLU).save(tmp_path / "named.zip")
    assert load_agent(tmp_path / "named.zip").source.activation_from == "policy_kwargs in the zip"


def test_a_return_far_below_that_of_the_training_is_noticed(tmp_path: Path) -> None:
    model = _learn("PPO", gym.make("CartPole-v1"))
    path = tmp_path / "agent.zip"
    for returns, warns in ((np.full(20, 480.0), True), (np.linspace(8, 12, 20), False)):
        model.ep_info_buffer.clear()
        model.ep_info_buffer.extend({"r": float(r), "l": int(r), "t": 1.0} for r in returns)
        model.save(path)
        source = load_agent(path).source
        assert source.trained_to == (returns.mean(), returns.std())
        assert source.trained_steps == model.num_timesteps
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            squeezerl.evaluate(path, env="CartPole-v1", episodes=3)
        texts = [str(w.message) for w in said if issubclass(w.category, SqueezeRLWarning)]
        assert any("in training returned 480" in text for text in texts) == warns
