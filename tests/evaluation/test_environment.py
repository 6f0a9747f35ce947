from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from plain_actors import PlainActor, Shapes, constant, discrete, toppling
from task_envs import FATE, Fate

from squeezerl.agents.load import load_agent
from squeezerl.errors import EnvError, InvalidArgumentError
from squeezerl.evaluation.environment import (
    FRAME_STACK,
    Environment,
    make_gymnasium,
    registration,
)
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.runtimes.base import Actor
from squeezerl.runtimes.onnx_runtime import load_network


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("HalfCheetha-v5", "HalfCheetah-v5"),
        ("HalfCheetah-v9", "HalfCheetah-v4"),
        ("CartPol-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("Fate-v0", "tests/Fate-v0"),
    ],
)
def test_an_unknown_environment_comes_with_a_suggestion(unknown: str, meant: str) -> None:
    with pytest.raises(EnvError, match=f"{unknown}.*did you mean .*{meant}"):
        Environment.find(unknown)


@pytest.mark.parametrize(
    "unknown", ["", " ", "Qqqqqqq-v0", "HalfCheetah-v5 ", "a/b/c", "no_module:Id-v0"]
)
@pytest.mark.parametrize("backend", ["auto", "envpool", "gymnasium"])
def test_a_malformed_or_unheard_of_name_is_an_error(unknown: str, backend: str) -> None:
    with pytest.raises(EnvError):
        Environment.find(unknown, backend=backend)


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(EnvError, match="no_such_module"):
        Environment.find("no_such_module:Task-v0")


def test_envpool_cannot_be_insisted_on_where_it_lacks_the_environment() -> None:
    with pytest.raises(EnvError, match=f"EnvPool cannot run '{FATE}'"):
        Environment.find(FATE, backend="envpool")


def test_an_environment_of_ones_own_is_not_replaced_by_envpools_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(gymnasium.registry, "CartPole-v1", EnvSpec("CartPole-v1", Fate))
    environment = Environment.find("CartPole-v1")
    assert (environment.backend, environment.observation_shape) == ("gymnasium", (1,))


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_arguments_reach_the_environment(backend: str) -> None:
    kwargs = {"exclude_current_positions_from_observation": False, "max_episode_steps": 3}
    environment = Environment.find("HalfCheetah-v5", kwargs, backend=backend)
    assert environment.observation_shape == (18,)
    record = evaluate(constant(0.0, (18,), (6,)), environment, episodes=2)
    assert [episode.length for episode in record.episodes] == [3, 3]
    assert record.env_kwargs == kwargs


def test_an_argument_changes_the_returns_alike_in_both_backends() -> None:
    actor = constant(1.0, (17,), (6,))
    for backend in ("envpool", "gymnasium"):
        kwargs = {"max_episode_steps": 20}
        light, heavy = (
            np.mean(
                evaluate(
                    actor,
                    Environment.find(
                        "HalfCheetah-v5", kwargs | {"ctrl_cost_weight": weight}, backend=backend
                    ),
                    episodes=3,
                ).returns
            )
            for weight in (0.0, 1.0)
        )
        assert light - heavy == pytest.approx(6 * 20, rel=1e-4)  # six actions of 1, squared


@pytest.mark.parametrize(
    "kwargs", [{"nonsense": 1}, {"num_envs": 3}, {"seed": 1}, {"id": "Hopper-v5"}]
)
@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "CartPole-v1", FATE])
def test_an_argument_that_the_environment_does_not_take_is_an_error(
    env_id: str, kwargs: dict[str, object]
) -> None:
    with pytest.raises(EnvError, match=f"{env_id} with .*{next(iter(kwargs))}"):
        Environment.find(env_id, kwargs)


@pytest.mark.parametrize("kwargs", [{"reset_noise_scale": "x"}, {"xml_file": "nowhere.xml"}])
@pytest.mark.parametrize("backend", ["auto", "gymnasium"])
def test_an_argument_that_breaks_the_environment_is_an_error(
    demo_actor: Actor, kwargs: dict[str, object], backend: str
) -> None:
    with pytest.raises(EnvError, match="HalfCheetah-v5"):
        evaluate(
            demo_actor, Environment.find("HalfCheetah-v5", kwargs, backend=backend), episodes=2
        )


@pytest.mark.parametrize(
    ("env_id", "kind"),
    [("FrozenLake-v1", "Discrete"), ("Blackjack-v1", "Tuple")],
)
def test_observations_that_are_not_arrays_are_not_supported_yet(env_id: str, kind: str) -> None:
    with pytest.raises(EnvError, match=f"{kind} observations are not supported yet"):
        Environment.find(env_id)


@pytest.mark.parametrize(
    ("env_id", "observations", "fitting"),
    [("Reacher-v5", 11, "Reacher-v4"), ("Ant-v4", 105, "Ant-v5"), ("Ant-v5", 27, "Ant-v4")],
)
def test_a_mismatch_names_the_versions_that_fit(
    env_id: str, observations: int, fitting: str
) -> None:
    environment = Environment.find(env_id)
    actor = constant(0.0, (observations,), environment.action_shape)
    with pytest.raises(EnvError, match=rf"\({observations},\).*It fits .*{fitting}"):
        evaluate(actor, environment, episodes=1)


@pytest.mark.parametrize(
    ("env_id", "shapes", "said", "changes"),
    [
        (
            "Ant-v5", Shapes((27,), (8,)), "Ant-v5 with include_cfrc_ext_in_observation=False",
            {"env_kwargs": {"include_cfrc_ext_in_observation": False}},
        ),
        ("Ant-v5", Shapes((111,), (8,)), "Ant-v4 with use_contact_forces=True", {"env": "Ant-v3"}),
        (
            "Ant-v4", Shapes((111,), (8,)), "Ant-v4 with use_contact_forces=True",
            {"env_kwargs": {"use_contact_forces": True}},
        ),
        (
            "LunarLander-v3", Shapes((8,), (2,)), "LunarLander-v3 with continuous=True",
            {"env_kwargs": {"continuous": True}},
        ),
        (
            "CartPole-v1", Shapes((12,), (), (2,)), "CartPole-v1 with its last 3 observations",
            {"frame_stack": 3},
        ),
    ],
)  # fmt: skip
def test_a_mismatch_names_the_arguments_that_fit_and_they_do(
    env_id: str, shapes: Shapes, said: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(EnvError, match=said) as caught:
        Environment.find(env_id).check_fits(shapes)
    assert "terminate" not in str(caught.value)  # which changes no size
    assert caught.value.try_with == changes
    kwargs = dict(changes.get("env_kwargs", {}))
    if "frame_stack" in changes:
        kwargs[FRAME_STACK] = changes["frame_stack"]
    Environment.find(changes.get("env", env_id), kwargs).check_fits(shapes)


@pytest.mark.parametrize(
    ("retired", "instead"),
    [("BipedalWalker-v2", "BipedalWalker-v3"), ("Ant-v1", "Ant-v3"), ("CartPol-v1", "CartPole-v1")],
)
def test_a_name_that_cannot_be_made_comes_with_one_that_can(retired: str, instead: str) -> None:
    with pytest.raises(EnvError) as caught:
        Environment.find(retired)
    assert caught.value.try_with == {"env": instead}


@pytest.mark.parametrize("stack", [1, 3])
def test_stacked_observations_are_those_of_vec_frame_stack(stack: int) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    ours = make_gymnasium("CartPole-v1", {FRAME_STACK: stack})
    theirs = VecFrameStack(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), stack)
    theirs.seed(7)
    observation, _ = ours.reset(seed=7)
    np.testing.assert_array_equal(observation, theirs.reset()[0])
    assert ours.observation_space.shape == theirs.observation_space.shape
    for step in range(5):
        observation, *_ = ours.step(step % 2)
        np.testing.assert_array_equal(observation, theirs.step(np.array([step % 2]))[0][0])


def test_a_policy_of_stacked_observations_plays() -> None:
    environment = Environment.find("CartPole-v1", {FRAME_STACK: 3, "max_episode_steps": 20})
    assert (environment.backend, environment.max_episode_steps) == ("gymnasium", 20)
    newest = PlainActor(
        lambda batch: (batch[:, 8:][:, 2] > 0).astype(np.int64), Shapes((12,), (), (2,))
    )
    plain = Environment.find("CartPole-v1", {"max_episode_steps": 20}, backend="gymnasium")
    expected = evaluate(toppling(), plain, episodes=5)
    assert evaluate(newest, environment, episodes=5).returns == expected.returns
    for number in (0, -1, 2.5, "x"):
        with pytest.raises(EnvError, match="`frame_stack` must be a positive number"):
            Environment.find("CartPole-v1", {FRAME_STACK: number})
    with pytest.raises(InvalidArgumentError, match="not in EnvPool"):
        Environment.find("CartPole-v1", {FRAME_STACK: 2}, backend="envpool")


def test_a_mismatch_says_so_if_no_version_fits() -> None:
    with pytest.raises(EnvError, match=r"\(11,\).*\(17,\).*[Nn]o registered version"):
        evaluate(constant(0.0, (11,), (3,)), "HalfCheetah-v4", episodes=1)


def test_a_published_agent_does_not_fit_another_robot(published_agents: Path) -> None:
    actor = load_network(load_agent(published_agents / "ppo" / "Hopper-v3_1").network)
    with pytest.raises(EnvError, match=r"\(11,\).*HalfCheetah-v4 has .*\(17,\)"):
        evaluate(actor, "HalfCheetah-v4", episodes=1)
    Environment.find("Hopper-v3").check_fits(actor)
    Environment.find("Hopper-v5").check_fits(actor)


@pytest.mark.parametrize(
    ("actions", "env_id"),
    [(2, "Pendulum-v1"), (2, "Acrobot-v1"), (3, "CartPole-v1"), (4, "LunarLanderContinuous-v3")],
)
def test_a_discrete_agent_needs_the_same_number_of_actions(actions: int, env_id: str) -> None:
    environment = Environment.find(env_id)
    with pytest.raises(EnvError, match=f"{actions} discrete actions; {env_id} has"):
        environment.check_fits(discrete(actions, environment.observation_shape))


def test_a_continuous_agent_does_not_fit_discrete_actions() -> None:
    with pytest.raises(EnvError, match=r"CartPole-v1 has .* 2 discrete actions"):
        Environment.find("CartPole-v1").check_fits(constant(0.0, (4,), (1,)))


def test_a_retired_environment_still_runs(demo_actor: Actor) -> None:
    record = evaluate(demo_actor, "HalfCheetah-v3", episodes=2)
    assert record.backend == "envpool"
    assert record.steps == 2000


@pytest.mark.parametrize("entry_point", [Fate, "__main__:Fate", "task_envs:Fate"])
def test_a_registration_makes_an_environment_known_again(
    entry_point: str | type[Fate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Fate", Fate, raising=False)
    gymnasium.register("tests/Sent-v0", entry_point, max_episode_steps=7)
    register = registration("tests/Sent-v0")
    del gymnasium.registry["tests/Sent-v0"]
    monkeypatch.delattr(sys.modules["__main__"], "Fate")
    assert register is not None
    register()
    assert Environment.find("tests/Sent-v0").max_episode_steps == 7
    del gymnasium.registry["tests/Sent-v0"]


def test_what_other_processes_know_needs_no_registration() -> None:
    assert registration("task_envs:tests/Fate-v0") is None
    assert registration("no/Such-v0") is None
