"""The script that trains off-policy agents together; here on the processor."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecNormalize

from squeezerl import load_agent
from squeezerl.evaluation.evaluate import evaluate
from squeezerl.runtimes.onnx_runtime import load_network
from squeezerl.training.config import TrainConfig
from squeezerl.training.resolve import resolve
from squeezerl.training.vector_env import make_vector_env

ROOT = Path(__file__).resolve().parents[2]
STUDY = "name: little\nagents:" + "".join(
    f"""
  - train:
      algorithms: [{algorithm}]
      environments: [Pendulum-v1]
      steps: 1600
      evaluations: 2
      eval_episodes: 1
      hyperparameters:
        default: {{n_envs: 4, train_freq: 1, gradient_steps: 1, learning_starts: 800,
                   buffer_size: 1000, normalize: {normalize}}}
"""
    for algorithm, normalize in (("sac", "false"), ("td3", "true"))
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module = importlib.import_module("train_on_gpu")
    keeping = importlib.import_module("train_and_keep")
    monkeypatch.setattr(keeping, "EPISODES", 3)
    monkeypatch.setattr(keeping, "CONSTANTS", 4)
    return module


@pytest.mark.slow
def test_agents_are_trained_together_and_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, agents, runs = tmp_path / "little.yaml", tmp_path / "agents", tmp_path / "runs"
    study.write_text(STUDY)
    arguments = ["together", str(study), "--output", str(agents), "--runs", str(runs)]
    monkeypatch.setattr("sys.argv", [*arguments, "--device", "cpu"])
    script.main()
    for algorithm in ("sac", "td3"):
        folder = agents / algorithm / "Pendulum-v1"
        record, agent = json.loads((folder / "training.json").read_text()), load_agent(folder)
        assert (agent.source.algorithm, agent.env_id) == (algorithm, "Pendulum-v1")
        again = evaluate(load_network(agent.network), "Pendulum-v1", episodes=3)
        np.testing.assert_allclose(again.returns, record["evaluation"]["returns"], atol=1e-3)
        assert record["evaluations"]["steps"] == [800, 1600]
        assert record["training_episodes"]["steps"][-1] == record["steps"] == 1600
        assert record["gpu"]["agents"] == 2
        assert (agent.network.normalizer is not None) == (algorithm == "td3")
        # Its critic is there for whoever trains on.
        whole = load_agent(runs / algorithm / "Pendulum-v1/best_model.zip")
        assert whole.network.parameter_count == agent.network.parameter_count


def test_the_environments_are_those_of_train(script: ModuleType, tmp_path: Path) -> None:
    """Also where episodes end, which Hopper's do early under random actions."""
    config = TrainConfig(algorithm="td3", env="Hopper-v4", steps=20_000, seed=3)
    training, count = resolve(config), 3
    ours = script.Environments(training, count)
    theirs = make_vector_env(training.environment, count, seed=3, monitor=None)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng, episodes = np.random.default_rng(0), []
    for _ in range(150):
        actions = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
        ours.send(actions)
        observations, following, rewards, ends, done = ours.receive()
        expected, given, dones, infos = theirs.step(actions)
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(done, dones)
        np.testing.assert_allclose(rewards, given, rtol=1e-6)
        for i, info in enumerate(infos):
            last = info["terminal_observation"] if dones[i] else expected[i]
            np.testing.assert_array_equal(following[i], last)
            assert ends[i] == (dones[i] and not info["TimeLimit.truncated"])
            if dones[i]:
                episodes.append((info["episode"]["r"], info["episode"]["l"]))
    assert len(episodes) > 5
    np.testing.assert_allclose(ours.episodes, episodes, rtol=1e-5)
    theirs.close()


def test_a_replay_buffer_gives_back_what_was_stored_last(script: ModuleType) -> None:
    buffer = script.DeviceReplay(7, 2, 1, 2, torch.device("cpu"))  # room for 3 pairs
    for number in range(5):
        pair = torch.tensor([[2.0 * number], [2.0 * number + 1]])
        buffer.add(pair.repeat(1, 2), pair.repeat(1, 2) + 0.5, -pair, 10 * pair, pair[:, 0] % 2)
    torch.manual_seed(0)
    drawn = buffer.sample(3_000)
    numbers, counts = np.unique(drawn.observations[:, 0].numpy(), return_counts=True)
    np.testing.assert_array_equal(numbers, np.arange(4, 10))
    assert counts.min() > 400
    assert counts.max() < 600
    torch.testing.assert_close(drawn.next_observations, drawn.observations + 0.5)
    torch.testing.assert_close(drawn.actions, -drawn.observations[:, :1])
    torch.testing.assert_close(drawn.rewards, 10 * drawn.observations[:, :1])
    torch.testing.assert_close(drawn.dones, drawn.observations[:, :1] % 2)


def test_observations_and_rewards_are_normalised_as_by_stable_baselines3(
    script: ModuleType,
) -> None:
    """Through ends of episodes, and with values that are clipped."""
    training = resolve(TrainConfig(algorithm="td3", env="Hopper-v4", steps=20_000, seed=3))
    env = VecNormalize(make_vector_env(training.environment, 3, seed=3, monitor=None), clip_obs=2)
    ours = script.DeviceNormalizer(
        VecNormalize(env.venv, gamma=env.gamma, clip_obs=2), torch.device("cpu")
    )
    env.reset()
    ours.begin(torch.as_tensor(env.get_original_obs()))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(150):
        expected, rewards, dones, _ = env.step(rng.uniform(-1, 1, (3, 3)).astype(np.float32))
        raw, given = env.get_original_obs(), env.get_original_reward()
        ours.note(*map(torch.as_tensor, (raw, given, dones.astype(np.float32))))
        ends += dones.sum()
        np.testing.assert_allclose(ours.observations(torch.as_tensor(raw)), expected, rtol=1e-6)
        np.testing.assert_allclose(ours.rewards(torch.as_tensor(given)), rewards, rtol=1e-6)
    assert ends > 5
    assert np.abs(expected).max() <= 2
    other = VecNormalize(env.venv)
    script.set_statistics(other, ours.state())
    np.testing.assert_allclose(other.obs_rms.mean, env.obs_rms.mean)
    np.testing.assert_allclose(other.ret_rms.var, env.ret_rms.var)
    env.close()
