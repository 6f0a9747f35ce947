from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from plain_actors import PlainActor, Shapes, constant

from squeezerl.errors import EnvError
from squeezerl.evaluation import envpool_support
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.evaluation.timed_episode import timed_episode
from squeezerl.evaluation.visits import EnvironmentVisits

_DOCS = Path(__file__).parents[2] / "docs"


class Faulty(gymnasium.Env[Any, Any]):
    """Six steps; what it is given stands in the place of something sound in step `at`."""

    observation_space = Box(-1, 1, (4,))
    action_space = Box(-1, 1, (1,))

    def __init__(
        self, observation: Any = None, reward: Any = 1.0, ended: Any = ..., at: int = 3
    ) -> None:
        self._observation, self._reward, self._at = observation, reward, at
        self._ended = ended

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._step = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self._step += 1
        reward = self._reward if self._step == self._at else 1.0
        if isinstance(reward, str) and reward == "broken":
            raise RuntimeError("a joint came off")
        ended: Any = self._step == 6
        if self._step == self._at and self._ended is not ...:
            ended = self._ended
        return self._observe(), reward, ended, False, {}

    def _observe(self) -> Any:
        faulty = self._step == self._at and self._observation is not None
        return self._observation if faulty else np.zeros(4, np.float32)


class _OldSpaces:
    observation_space = Box(-1, 1, (2,))
    action_space = Discrete(2)


class OldReset(_OldSpaces, gymnasium.Env[Any, Any]):
    """Its reset is that of the old Gym, and two features look like (observation, info)."""

    def reset(self, **kwargs: Any) -> Any:
        return np.zeros(2, np.float32)


class OldSeed(OldReset):
    """As `OldReset`, and takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return np.zeros(2, np.float32)


class OldStep(_OldSpaces, gymnasium.Env[Any, Any]):
    """Gymnasium's reset, and the old Gym's step."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 1.0, True, {}


class OldGym(_OldSpaces):
    """What the old Gym had: three steps, each worth the seed."""

    def seed(self, seed: int) -> None:
        self._seed = seed

    def reset(self) -> Any:
        self._left = 3
        return np.zeros(2, np.float32)

    def step(self, action: Any) -> Any:
        self._left -= 1
        return np.zeros(2, np.float32), float(self._seed), self._left == 0, {}


FAULTY = "tests/Faulty-v0"
gymnasium.register(FAULTY, Faulty)
for old in (OldReset, OldSeed, OldStep, OldGym):
    gymnasium.register(f"tests/{old.__name__}-v0", old)
    gymnasium.register(f"tests/{old.__name__}-v1", old, max_episode_steps=9)


@pytest.mark.parametrize("episodes", [1, 3, 40])
@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"observation": np.zeros(5)}, r"observation of step 3 .*\(5,\).* declares shape \(4,\)"),
        ({"observation": np.zeros((1, 4))}, r"observation of step 3 .*\(1, 4\)"),
        ({"observation": np.zeros(1)}, r"observation of step 3 .*\(1,\)"),
        ({"observation": 0.0}, r"observation of step 3 .*\(\)"),
        ({"observation": np.zeros(5), "at": 0}, "observation of step 0 "),
        ({"observation": np.zeros(5), "at": 6}, "observation of step 6 "),
        ({"observation": [[0.0], [0.0, 1.0]]}, "observation of step 3 .*object"),
        ({"observation": ["1", "2", "3", "4"]}, "observation of step 3 .*<U1"),
        ({"observation": np.zeros(4, complex)}, "observation of step 3 .*complex128"),
        ({"observation": None, "reward": float("nan")}, "reward of step 3 .* is nan"),
        ({"reward": float("inf")}, "reward of step 3 .* is inf"),
        ({"reward": "many"}, "reward of step 3 .* is 'many' of type str; one number is needed"),
        ({"reward": None}, "reward of step 3 .* is 'None' of type NoneType"),
        ({"reward": np.ones(2)}, "reward of step 3 .* of type ndarray; one number"),
        ({"ended": "no"}, "`terminated` of step 3 .* is 'no' of type str; one truth value"),
        ({"ended": None}, "`terminated` of step 3 .* is 'None' of type NoneType"),
        ({"reward": "broken"}, "failed in step 3 .*a joint came off"),
        ({"observation": np.float32([0, np.nan, 0, np.nan])}, "step 3 .* NaN in 2 of its 4"),
    ],
)
def test_a_faulty_step_is_an_error_that_names_step_and_episode(
    kwargs: dict[str, Any], problem: str, episodes: int
) -> None:
    actor = constant(0.0, (4,))
    with pytest.raises(EnvError, match=f"{FAULTY}.*{problem}") as caught:
        evaluate(actor, Environment.find(FAULTY, kwargs), episodes=episodes, seed=50)
    assert "in the episode with seed 50" in str(caught.value)
    with pytest.raises(EnvError, match=problem.replace("of its 4", "")) as caught:
        timed_episode(gymnasium.make(FAULTY, **kwargs), lambda batch: actor.act(batch), 50)


@pytest.mark.parametrize(
    "observation",
    [[0, 0, 0, 0], np.zeros(4, bool), np.zeros(4, int), np.full(4, 1e300), [np.inf] * 4],
)
def test_an_observation_of_another_type_is_cast(observation: Any) -> None:
    environment = Environment.find(FAULTY, {"observation": observation})
    with np.errstate(over="ignore"):
        assert evaluate(constant(0.0, (4,)), environment, episodes=2).returns == [6.0, 6.0]


def test_nan_in_the_last_observation_is_not_acted_on() -> None:
    environment = Environment.find(FAULTY, {"observation": np.full(4, np.nan), "at": 6})
    assert evaluate(constant(0.0, (4,)), environment, episodes=3).returns == [6.0] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("env_id", "shapes"),
    [("HalfCheetah-v5", Shapes((17,), (6,))), (FAULTY, Shapes((4,), (1,)))],
)
def test_an_action_that_is_not_finite_is_an_error(
    value: float, env_id: str, shapes: Shapes
) -> None:
    calls = []

    def act(batch: Any) -> Any:
        calls.append(len(batch))
        actions = np.zeros((len(batch), *shapes.action_shape), np.float32)
        if len(calls) > 4:
            actions[-1, 0] = value
        return actions

    with pytest.raises(EnvError, match=r"policy's action of step \d in the episode with seed \d"):
        evaluate(PlainActor(act, shapes), env_id, episodes=5)


def test_arrays_of_one_number_are_taken_as_stable_baselines3_takes_them() -> None:
    kwargs = {"reward": np.array([3.0]), "ended": np.array([False])}
    environment = Environment.find("tests/Faulty-v0", kwargs)
    record = evaluate(constant(0.0, (4,), (1,)), environment, episodes=1)
    assert (record.returns, record.episodes[0].length) == ([8.0], 6)


def test_a_reward_of_envpool_that_is_not_a_number_is_an_error() -> None:
    for backend in ("envpool", "gymnasium"):
        broken = Environment.find(
            "HalfCheetah-v5", {"forward_reward_weight": float("nan")}, backend=backend
        )
        with pytest.raises(EnvError, match="reward of step 1 in the episode with seed 3 is"):
            evaluate(constant(0.0, (17,), (6,)), broken, episodes=3, seed=3)


def test_an_observation_of_envpool_that_is_nan_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its simulations do not diverge on demand, so what it returns is changed on the way."""
    make = envpool_support.library().make

    class Diverging:
        def __init__(self, *given: Any, **kwargs: Any) -> None:
            self._env, self._steps = make(*given, **kwargs), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._env, name)

        def recv(self) -> Any:
            observations, *others = self._env.recv()
            self._steps += 1
            if self._steps == 4:
                observations[0, 2] = np.nan
            return (observations, *others)

    monkeypatch.setattr(envpool_support.library(), "make", Diverging)
    with pytest.raises(EnvError, match="observation of step 4 in the episode with seed 7 is NaN"):
        evaluate(constant(0.0, (17,), (6,)), "HalfCheetah-v5", episodes=1, seed=7)


def test_a_policy_that_learns_in_a_faulty_environment_is_stopped() -> None:
    for kwargs in ({"reward": float("nan")}, {"observation": np.full(4, np.nan, np.float32)}):
        with (
            EnvironmentVisits(Environment.find(FAULTY, kwargs), 0) as visits,
            pytest.raises(EnvError, match="while the policy learned"),
        ):
            visits.roll(lambda batch: np.zeros((len(batch), 1), np.float32), 6)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("OldReset", "`reset` does not return"),
        ("OldSeed", "`reset` takes no `seed`"),
        ("OldStep", "`step` returns four values"),
        ("OldGym", "is not an environment of Gymnasium"),
    ],
)
def test_an_environment_of_the_old_gym_is_recognised(name: str, problem: str, version: int) -> None:
    actor = PlainActor(lambda batch: np.zeros(len(batch), np.int64), Shapes((2,), (), (2,)))
    with pytest.raises(EnvError, match=f"{problem}.*Gym before 0.26.*docs/evaluation.md"):
        evaluate(actor, f"tests/{name}-v{version}", episodes=2)


def test_the_wrapper_in_the_documentation_runs_an_environment_of_the_old_gym(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = ModuleType("old_package")
    package.OldEnv = OldGym  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "old_package", package)
    code = re.search(
        r"```python\n(import gymnasium\n.*?)```", (_DOCS / "evaluation.md").read_text(), re.S
    )
    assert code is not None
    exec(code[1], {})
    actor = PlainActor(lambda batch: np.zeros(len(batch), np.int64), Shapes((2,), (), (2,)))
    assert evaluate(actor, "Ported-v0", episodes=3, seed=5).returns == [15.0, 18.0, 21.0]
