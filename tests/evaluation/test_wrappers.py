from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from sb3_contrib.common.wrappers import TimeFeatureWrapper

from squeezerl.agents.env_wrappers import EnvWrapper, read_setting, wrappers_in
from squeezerl.errors import EnvError, InvalidArgumentError, UnsupportedPolicyError
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.evaluation.wrappers import wrapped
from squeezerl.records import ENV_WRAPPERS, WRAPPED_SIZE


class Counter(gymnasium.Env[Any, Any]):
    """Observes (step, action, action) and rewards with 1; success comes every other step."""

    observation_space: Any = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1, 1, (2,))

    def __init__(self, *, is_dict: bool = False) -> None:
        self.is_dict = is_dict
        if is_dict:
            self.observation_space = Dict(observation=self.observation_space, goal=Box(0, 1, (1,)))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.count = 0
        return self._observe(np.zeros(2)), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return self._observe(action), 1.0, False, False, {"is_success": self.count % 4 >= 2}

    def _observe(self, action: Any) -> Any:
        seen = np.float32([self.count, *action])
        return {"observation": seen, "goal": np.float32([0.5])} if self.is_dict else seen


def _wrapped(*texts: str, is_dict: bool = False) -> gymnasium.Env[Any, Any]:
    return wrapped(Counter(is_dict=is_dict), [EnvWrapper.of(text) for text in texts])


@pytest.mark.parametrize("limit", [None, 7])
def test_time_feature_is_that_of_sb3_contrib(limit: int | None) -> None:
    ours = make_gymnasium("Pendulum-v1", {ENV_WRAPPERS: ["TimeFeatureWrapper"]})
    theirs: Any = TimeFeatureWrapper(gymnasium.make("Pendulum-v1"))
    if limit:
        given = {ENV_WRAPPERS: [f"TimeLimit:max_episode_steps={limit}", "TimeFeatureWrapper"]}
        ours = make_gymnasium("Pendulum-v1", given)
        shorter = gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1"), limit)
        theirs = TimeFeatureWrapper(shorter)
    assert ours.observation_space == theirs.observation_space
    for _ in range(2):
        np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
        for count in range(10):
            action = np.float32([np.sin(count)])
            seen, reward, terminated, truncated, _ = ours.step(action)
            expected = theirs.step(action)
            np.testing.assert_array_equal(seen, expected[0])
            assert (reward, terminated, truncated) == expected[1:4]
            assert truncated == (count + 1 == limit)
            if truncated:
                break


def test_history_holds_the_last_observations_and_actions_the_oldest_first() -> None:
    env = _wrapped("HistoryWrapper:horizon=3")
    assert env.observation_space.shape == (3 * 3 + 3 * 2,)
    for _ in range(2):
        seen, _ = env.reset()
        np.testing.assert_array_equal(seen, np.zeros(15))
        for action in ((0.1, 0.2), (0.3, 0.4)):
            seen, *_ = env.step(np.float32(action))
        expected = np.float32(
            [0, 0, 0, 1, 0.1, 0.2, 2, 0.3, 0.4, *(0, 0), *(0.1, 0.2), *(0.3, 0.4)]
        )
        np.testing.assert_array_equal(seen, expected)
        assert seen in env.observation_space


def test_dict_observations_are_wrapped_in_their_entry_of_the_name() -> None:
    env = _wrapped("TimeFeatureWrapper:max_steps=10", "HistoryWrapperObsDict", is_dict=True)
    seen, _ = env.reset()
    assert seen in env.observation_space
    seen, *_ = env.step(np.float32([0.5, 0.5]))
    np.testing.assert_array_equal(
        seen["observation"], np.float32([0, 0, 0, 1, 1, 0.5, 0.5, 0.9, 0, 0, 0.5, 0.5])
    )


def test_frame_skip_adds_rewards_and_stops_where_an_episode_ends() -> None:
    env = _wrapped("TimeLimit:max_episode_steps=5", "FrameSkip:skip=3")
    env.reset()
    assert env.step(np.zeros(2))[:3][1] == 3.0
    seen, reward, _, truncated, _ = env.step(np.zeros(2))
    assert (seen[0], reward, truncated) == (5, 2.0, True)


def test_success_in_a_row_ends_an_episode() -> None:
    env = _wrapped("DoneOnSuccessWrapper:reward_offset=1:n_successes=2")
    for _ in range(2):
        env.reset()
        steps = [env.step(np.zeros(2)) for _ in range(3)]
        assert [step[3] for step in steps] == [False, False, True]
        assert {step[1] for step in steps} == {2.0}


def test_stacked_frames_and_flat_ones_are_gymnasiums() -> None:
    env = _wrapped("FrameStack:num_stack=2", "FlattenObservation")
    np.testing.assert_array_equal(env.reset()[0], np.zeros(6))
    assert env.step(np.float32([1, 1]))[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_no_wrapper_of_observations_is_put_on_again() -> None:
    kwargs = {ENV_WRAPPERS: ["FrameSkip:skip=2", "TimeFeatureWrapper"], WRAPPED_SIZE: 4}
    for env_id, seen in (("Pendulum-v1", 4), ("MountainCarContinuous-v0", 3), ("CartPole-v1", 4)):
        environment = Environment.find(env_id, kwargs)
        assert (environment.backend, environment.observation_shape) == ("gymnasium", (seen,))
        assert "FrameSkip" in str(environment.make())


def test_what_is_not_known_is_named() -> None:
    for text, reason in (
        ("os.system", "no wrapper 'os.system'"),
        ("FrameSkip:skip=0", "out of range"),
        ("FrameSkip:skip=True", "takes"),
        ("HistoryWrapper:horizon=1e99", "takes"),
        ("TimeFeatureWrapper:nope=1", "takes"),
    ):
        with pytest.raises(InvalidArgumentError, match=reason):
            wrappers_in({ENV_WRAPPERS: text})
        with pytest.raises(EnvError, match=reason):
            Environment.find("Pendulum-v1", {ENV_WRAPPERS: [text]})
    with pytest.raises(EnvError, match="flat continuous actions"):
        Environment.find("CartPole-v1", {ENV_WRAPPERS: ["HistoryWrapper"]})


def test_a_policy_with_one_number_more_is_told_of_the_time_feature() -> None:
    policy = Environment.find("Pendulum-v1", {ENV_WRAPPERS: ["TimeFeatureWrapper"]})
    with pytest.raises(EnvError, match="TimeFeatureWrapper") as caught:
        Environment.find("Pendulum-v1").check_fits(policy)
    assert caught.value.try_with == {"env_kwargs": {ENV_WRAPPERS: ["TimeFeatureWrapper"]}}


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        (None, []),
        ("sb3_contrib.common.wrappers.TimeFeatureWrapper", ["TimeFeatureWrapper"]),
        ({"rl_zoo3.wrappers.HistoryWrapper": {"horizon": 5}}, ["HistoryWrapper:horizon=5"]),
        (
            [{"utils.wrappers.FrameSkip": {"skip": 2}}, "gym.wrappers.TimeLimit"],
            ["FrameSkip:skip=2"],
        ),
        (
            [
                {"gym.wrappers.time_limit.TimeLimit": {"max_episode_steps": 100}},
                {"gymnasium.wrappers.FrameStackObservation": {"stack_size": 3}},
            ],
            ["TimeLimit:max_episode_steps=100", "FrameStack:num_stack=3"],
        ),
    ],
)
def test_settings_of_the_zoo_become_texts_and_back(setting: Any, texts: list[str]) -> None:
    assert read_setting(setting) == texts
    assert [str(each) for each in wrappers_in({ENV_WRAPPERS: texts})] == texts


@pytest.mark.parametrize(
    "setting",
    [
        "my.wrappers.TimeFeatureWrapper",
        "TimeFeatureWrapper",
        "os.system",
        {"rl_zoo3.wrappers.FrameSkip": "rm -rf /"},
        {"rl_zoo3.wrappers.FrameSkip": {"skip": "2"}},
        {"rl_zoo3.wrappers.FrameSkip": {"skip": 10**9}},
        [["rl_zoo3.wrappers.FrameSkip"]],
        [None, 3],
        "stable_baselines3.common.atari_wrappers.AtariWrapper",
    ],
)
def test_settings_that_are_not_known_are_refused_by_name(setting: Any) -> None:
    with pytest.raises(UnsupportedPolicyError, match="behind the wrapper"):
        read_setting(setting)
