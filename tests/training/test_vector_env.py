from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment
from squeezerl.training.vector_env import EnvPoolVecEnv, make_vector_env

Array = npt.NDArray[Any]
BACKENDS = ["envpool", "gymnasium"]
ENVIRONMENTS = ["HalfCheetah-v4", "Hopper-v4", "CartPole-v1", "Pendulum-v1"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves its log in the folder it runs in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(
        env_id: str,
        backend: str = "envpool",
        n_envs: int = 3,
        seed: int = 7,
        monitor: Path | None = None,
        **kwargs: Any,
    ) -> Any:
        environment = Environment.find(env_id, kwargs, backend=backend)
        made.append(make_vector_env(environment, n_envs, seed=seed, monitor=monitor))
        return made[-1]

    yield make
    for env in made:
        env.close()


def _actions(env: Any, steps: int, seed: int = 0) -> Array:
    """Random actions, shape (steps, n_envs, *action)."""
    env.action_space.seed(seed)
    return np.array(
        [[env.action_space.sample() for _ in range(env.num_envs)] for _ in range(steps)]
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_it_gives_what_stable_baselines3_would_get_from_gymnasium(
    make: Callable[..., Any], env_id: str, backend: str
) -> None:
    env = make(env_id, backend)
    theirs = DummyVecEnv([lambda: gymnasium.make(env_id)] * 3)
    assert (env.observation_space, env.action_space) == (
        theirs.observation_space,
        theirs.action_space,
    )
    for one in (env, theirs):
        one.first = one.reset()
    assert (env.first.shape, env.first.dtype) == (theirs.first.shape, theirs.first.dtype)
    (actions,) = _actions(env, 1)
    for ours, expected in zip(env.step(actions)[:3], theirs.step(actions)[:3], strict=True):
        assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
    theirs.close()


@pytest.mark.parametrize("env_id", ["LunarLander-v3", "LunarLanderContinuous-v3", "Ant-v5"])
def test_its_spaces_are_those_of_gymnasium(make: Callable[..., Any], env_id: str) -> None:
    ours, theirs = make(env_id), gymnasium.make(env_id)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space


def test_what_gymnasium_retired_has_the_spaces_of_its_successor(
    make: Callable[..., Any],
) -> None:
    retired, successor = make("HalfCheetah-v3"), make("HalfCheetah-v4")
    assert retired.observation_space == successor.observation_space
    assert retired.action_space == successor.action_space
    retired.reset()
    retired.step(np.zeros((3, 6), np.float32))


class _Alone:
    """One environment of EnvPool, stepped as its own documentation does it."""

    def __init__(self, env_id: str, seed: int) -> None:
        self._env = envpool_support.library().make(
            env_id, env_type="gymnasium", num_envs=1, seed=seed
        )

    def reset(self) -> Array:
        return self._env.reset()[0][0]

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        batch = np.asarray(action)[np.newaxis].astype(self._env.action_space.dtype)
        observations, rewards, terminated, truncated, _ = self._env.step(batch)
        return observations[0], rewards[0], bool(terminated[0]), bool(truncated[0])

    def close(self) -> None:
        self._env.close()


class _AloneInGymnasium:
    def __init__(self, env_id: str, seed: int) -> None:
        self._env, self._seed = gymnasium.make(env_id), seed

    def reset(self) -> Array:
        seed, self._seed = self._seed, None  # type: ignore[assignment]
        return self._env.reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[Array, float, bool, bool]:
        return self._env.step(action)[:4]

    def close(self) -> None:
        self._env.close()


ALONE: dict[str, Any] = {"envpool": _Alone, "gymnasium": _AloneInGymnasium}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("env_id", "steps"), [("Hopper-v4", 200), ("CartPole-v1", 200), ("Pendulum-v1", 450)]
)
def test_each_environment_is_what_it_would_be_alone(
    make: Callable[..., Any], env_id: str, steps: int, backend: str
) -> None:
    env = make(env_id, backend, n_envs=3, seed=11)
    actions = _actions(env, steps)
    observations = [env.reset()]
    results = []
    for batch in actions:
        observation, *result = env.step(batch)
        observations.append(observation)
        results.append(result)
    episodes = 0
    for index in range(3):
        with closing(ALONE[backend](env_id, 11 + index)) as alone:
            np.testing.assert_array_equal(observations[0][index], alone.reset())
            for step in range(steps):
                expected, reward, terminated, truncated = alone.step(actions[step, index])
                rewards, dones, infos = (part[index] for part in results[step])
                assert rewards == np.float32(reward)
                assert dones == (terminated or truncated)
                assert infos["TimeLimit.truncated"] is (truncated and not terminated)
                assert ("terminal_observation" in infos) == dones
                if dones:
                    np.testing.assert_array_equal(infos["terminal_observation"], expected)
                    expected = alone.reset()
                    episodes += 1
                np.testing.assert_array_equal(observations[step + 1][index], expected)
    assert episodes >= 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_time_limits_end_episodes_after_exactly_as_many_steps(
    make: Callable[..., Any], backend: str
) -> None:
    env = make("HalfCheetah-v4", backend, n_envs=2)
    env.reset()
    ends = []
    for step in range(1, 2001):
        _, _, dones, infos = env.step(np.zeros((2, 6), np.float32))
        if dones.any():
            ends.append((step, dones.tolist(), [info["TimeLimit.truncated"] for info in infos]))
            assert [info["episode"]["l"] for info in infos] == [1000, 1000]
    assert ends == [(step, [True, True], [True, True]) for step in (1000, 2000)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_limit_of_ones_own_counts_anew_after_each_episode(
    make: Callable[..., Any], backend: str
) -> None:
    env = make("Hopper-v4", backend, n_envs=4, max_episode_steps=25)
    env.reset()
    lengths, cut = [], []
    for actions in _actions(env, 300):
        for info in env.step(actions)[3]:
            if "episode" in info:
                lengths.append(info["episode"]["l"])
                cut.append(info["TimeLimit.truncated"])
    assert {length == 25 for length in lengths} == {True, False}
    assert max(lengths) == 25
    assert all(length == 25 for length, truncated in zip(lengths, cut, strict=True) if truncated)
    assert any(cut)


@pytest.mark.parametrize("backend", BACKENDS)
def test_envpool_calls_an_end_at_the_limit_a_truncation(
    make: Callable[..., Any], backend: str
) -> None:
    push = np.zeros(1, np.int64)
    free = make("CartPole-v1", backend, n_envs=1)
    free.reset()
    length = next(step for step in range(1, 100) if free.step(push)[2][0])
    limited = make("CartPole-v1", backend, n_envs=1, max_episode_steps=length)
    limited.reset()
    for _ in range(length):
        _, _, dones, infos = limited.step(push)
    assert dones[0]
    assert infos[0]["TimeLimit.truncated"] is (backend == "envpool")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_observation_is_where_the_hopper_fell(
    make: Callable[..., Any], backend: str
) -> None:
    env = make("Hopper-v4", backend, n_envs=4)
    env.reset()
    falls = 0
    for actions in _actions(env, 150):
        observations, _, dones, infos = env.step(actions)
        for index in np.flatnonzero(dones):
            height, angle = infos[index]["terminal_observation"][:2]
            assert height <= 0.7 or abs(angle) >= 0.2
            assert abs(observations[index][0] - 1.25) < 0.01
            assert abs(observations[index][1]) < 0.01
            falls += 1
    assert falls > 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_seed_decides_everything(make: Callable[..., Any], backend: str) -> None:
    first, again, other = (make("Hopper-v4", backend, seed=seed) for seed in (1, 1, 2))
    actions = _actions(first, 40)
    trajectories = [
        [env.reset(), *(env.step(batch)[0] for batch in actions)] for env in (first, again, other)
    ]
    np.testing.assert_array_equal(trajectories[0], trajectories[1])
    assert not np.array_equal(trajectories[0][0], trajectories[2][0])
    # The environments differ, and the second is the first of the next seed.
    assert not np.array_equal(trajectories[0][0][0], trajectories[0][0][1])
    np.testing.assert_array_equal(trajectories[0][0][1], trajectories[2][0][0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_new_seed_holds_from_the_next_reset_on(make: Callable[..., Any], backend: str) -> None:
    env, expected = make("CartPole-v1", backend, seed=1), make("CartPole-v1", backend, seed=5)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), expected.reset())
    env.seed(1)
    np.testing.assert_array_equal(env.reset(), first)
    np.testing.assert_array_equal(env.reset(), second)


def test_any_seed_will_do(make: Callable[..., Any]) -> None:
    env = make("CartPole-v1", seed=2**32 - 1)
    env.reset()
    env.seed()
    assert env.reset().shape == (3, 4)


def test_a_reset_in_the_middle_of_an_episode_starts_a_new_one(make: Callable[..., Any]) -> None:
    env = make("Pendulum-v1", n_envs=1)
    env.reset()
    for steps in (50, 200):
        env.reset()
        dones = [env.step(np.zeros((1, 1), np.float32))[2][0] for _ in range(steps)]
        assert sum(dones) == (steps == 200)


def test_what_was_returned_is_not_overwritten_later(make: Callable[..., Any]) -> None:
    env = make("CartPole-v1")
    kept = [env.reset()]
    copies = [kept[0].copy()]
    for actions in _actions(env, 100):
        kept.append(env.step(actions)[0])
        copies.append(kept[-1].copy())
    np.testing.assert_array_equal(kept, copies)


@pytest.mark.parametrize("backend", BACKENDS)
def test_episodes_are_logged(make: Callable[..., Any], backend: str, tmp_path: Path) -> None:
    env = make("Pendulum-v1", backend, monitor=tmp_path / "logs" / "0")
    env.reset()
    for _ in range(400):
        env.step(np.zeros((3, 1), np.float32))
    env.close()
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["0.monitor.csv"]
    log = load_results(str(tmp_path / "logs"))
    assert log["l"].tolist() == [200] * 6
    assert (log["r"] < 0).all()


def test_the_environments_have_no_attributes() -> None:
    env = EnvPoolVecEnv(Environment.find("CartPole-v1"), 3, seed=0)
    assert env.get_attr("render_mode", [0, 2]) == [None, None]
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    assert not env.has_attr("gravity")
    with pytest.raises(AttributeError, match="no attribute 'gravity'"):
        env.set_attr("gravity", 1.0)
    with pytest.raises(AttributeError, match="no method 'jump'"):
        env.env_method("jump")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("env_id", ["HalfCheetah-v4", "CartPole-v1"])
def test_an_agent_trained_on_it_goes_on_in_gymnasium(
    make: Callable[..., Any], env_id: str, backend: str, tmp_path: Path
) -> None:
    env = VecNormalize(make(env_id, backend, n_envs=4))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=3, device="cpu")
    model.learn(512)
    assert model.num_timesteps == 512
    model.save(tmp_path / "agent.zip")
    env.save(str(tmp_path / "vecnormalize.pkl"))

    plain = DummyVecEnv([lambda: gymnasium.make(env_id)])
    theirs = VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), plain)
    loaded = PPO.load(tmp_path / "agent.zip", env=theirs, device="cpu")
    observations = env.reset()
    np.testing.assert_array_equal(
        loaded.predict(observations, deterministic=True)[0],
        model.predict(observations, deterministic=True)[0],
    )
    loaded.learn(64)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env_id"), [(SAC, "Hopper-v4"), (DQN, "CartPole-v1")])
@pytest.mark.parametrize("backend", BACKENDS)
def test_off_policy_algorithms_run_on_it(
    make: Callable[..., Any], algorithm: Any, env_id: str, backend: str, tmp_path: Path
) -> None:
    env = make(env_id, backend, n_envs=2)
    model = algorithm("MlpPolicy", env, learning_starts=100, buffer_size=1000, seed=3, device="cpu")
    model.learn(200)
    assert model.num_timesteps == 200
    assert len(model.ep_info_buffer) > 0
    buffer = model.replay_buffer
    filled = buffer.pos
    ends = buffer.dones[: filled - 1].astype(bool)
    follows = buffer.next_observations[: filled - 1] == buffer.observations[1:filled]
    # What follows a state in the buffer is the next state, but for the ends of episodes.
    np.testing.assert_array_equal(follows.all(axis=-1), ~ends)
    model.save(tmp_path / "agent.zip")
    algorithm.load(tmp_path / "agent.zip", env=gymnasium.make(env_id), device="cpu")
