from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import squeezerl
from robots import robot
from squeezerl.errors import EnvError
from squeezerl.evaluation.recorded import check_recorded

pytestmark = pytest.mark.agents

ENV_ID = "examples.go2:Go2-v0"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    made = squeezerl.Environment.find(ENV_ID, {"xml": str(robot("go2.xml"))}).make()
    return made.unwrapped


def test_it_is_an_environment_of_gymnasium(env: Any) -> None:
    check_env(env, skip_render_check=True)


def test_an_episode_depends_on_its_seed_alone(env: Any) -> None:
    def play(seed: int) -> list[Any]:
        first, _ = env.reset(seed=seed)
        actions = np.random.default_rng(0).normal(size=(20, 12))
        return [first, *(env.step(action)[:3] for action in actions)]

    once, other, again = play(1), play(2), play(1)
    np.testing.assert_equal(again, once)
    assert not np.array_equal(once[0], other[0])


def test_seeds_vary_friction_and_the_mass_of_the_trunk_alone(env: Any) -> None:
    def drawn(seed: int) -> tuple[Any, Any]:
        env.reset(seed=seed)
        return env.model.geom_friction.copy(), env.model.body_mass.copy()

    (rough, heavy), (smooth, light) = drawn(1), drawn(2)
    np.testing.assert_allclose(rough / smooth, (rough / smooth)[0, 0])
    assert rough[0, 0] != smooth[0, 0]
    changed = [env.model.body(number).name for number in np.flatnonzero(heavy != light)]
    assert changed == ["base_link"]


def test_motors_are_mapped_by_name_and_pull_towards_their_targets(env: Any) -> None:
    env.reset(seed=0)
    action = np.zeros(12)
    action[1] = 2.0  # the thigh of the front right leg, the first of the policy's legs
    legs, parts = ("FR", "FL", "RR", "RL"), ("hip", "thigh", "calf")
    joints = [f"{leg}_{part}" for leg in legs for part in parts]
    targets = np.tile([0.0, 0.8, -1.5], 4)
    targets[1] += 0.5
    env.step(action)
    mujoco.mj_forward(env.model, env.data)
    for name, target in zip(joints, targets, strict=True):
        joint = env.data.joint(f"{name}_joint")
        torque = np.clip(20 * (target - joint.qpos[0]) - 0.5 * joint.qvel[0], -23.5, 23.5)
        assert env.data.actuator(name).force[0] == pytest.approx(torque)


def test_commands_change_every_few_seconds(env: Any) -> None:
    observation, _ = env.reset(seed=0)
    commands = [observation[6:9]]
    for _ in range(260):
        observation, _, fallen, *_ = env.step(np.zeros(12))  # so it stands
        assert not fallen
        commands.append(observation[6:9])
    changes = np.flatnonzero(np.any(np.diff(commands, axis=0), axis=1)) + 1
    assert changes.tolist() == [125, 250]
    assert (np.abs(commands) <= [1.0, 0.5, 1.0]).all()


def test_who_lies_down_has_fallen_and_earns_no_more(env: Any) -> None:
    env.reset(seed=0)
    limp = np.tile([0.0, 8.0, -5.0], 4)  # legs folded
    for _ in range(200):
        _, reward, fallen, *_ = env.step(limp)
        if fallen:
            break
    assert fallen
    assert reward == 0


def test_the_published_policy_walks_as_it_is_told(env: Any) -> None:
    actor = squeezerl.load_actor(str(robot("go2-robot_lab.pt")))
    observation, _ = env.reset(seed=0, options={"command": (0.5, 0.0, 0.0)})
    velocities, earned = [], 0.0
    for _ in range(200):
        observation, reward, fallen, *_ = env.step(actor.act(observation[None])[0])
        velocities.append(env.velocity)
        earned += reward
        assert not fallen
    forward, sideways, _ = np.mean(velocities[50:], axis=0)
    assert forward == pytest.approx(0.5, abs=0.1)
    assert sideways == pytest.approx(0.0, abs=0.1)
    assert earned > 0.8 * 200


def test_the_model_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.delenv("GO2_XML", raising=False)
    with pytest.raises(EnvError, match="GO2_XML"):
        squeezerl.Environment.find(ENV_ID)


def test_a_recorded_walk_holds_the_actions_of_the_policy(
    env: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GO2_XML", str(robot("go2.xml")))
    from examples.go2.walk import record

    policy = str(robot("go2-robot_lab.pt"))
    record(policy, str(tmp_path / "log.npz"), episodes=1)
    log = squeezerl.read_log(tmp_path / "log.npz")
    found = check_recorded(squeezerl.load(policy).network, log)
    assert (found.rows, found.agrees) == (500, True)
