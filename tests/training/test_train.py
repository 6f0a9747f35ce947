from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from trainings import PPO as ON_CARTPOLE
from trainings import SAC as ON_PENDULUM
from trainings import SHORT, checkpoint_in, plain, saved_state, stop_after, tensors, train, train_as

from squeezerl import QatConfig, load_agent
from squeezerl.api import load_actor
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import CheckpointError, InvalidArgumentError, OutputError, SpecError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import play
from squeezerl.methods.trained_int8 import QuantizationAwareTraining
from squeezerl.records import EvaluationRecord
from squeezerl.training.result import EVALUATION_SEED, TrainingProgress, TrainingResult

pytestmark = pytest.mark.slow

# Few updates; a window of ranges is 1,000 steps where there are no rollouts.
QAT_SAC = {
    "steps": 2200,
    "qat": QatConfig(),
    "hyperparameters": ("train_freq:20",),
}


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def _returns(record: EvaluationRecord | None) -> list[float]:
    assert record is not None
    return record.returns


def _played(actor: Any, env_id: str) -> list[float]:
    environment = Environment.find(env_id, SHORT)
    return play(actor, environment, episodes=2, seed=EVALUATION_SEED).returns


def _weights(path: Path) -> dict[str, Any]:
    return tensors(load_agent(path).network)


def _evaluations(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path / "evaluations.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """In float, behind a normaliser."""
    return train(ON_CARTPOLE, tmp_path_factory.mktemp("ppo") / "out", "normalize:true")


@pytest.fixture(scope="module")
def ppo_int8(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    output = tmp_path_factory.mktemp("ppo") / "out"
    return train(ON_CARTPOLE, output, "normalize:true", qat=QatConfig())


@pytest.fixture(scope="module")
def sac_int8(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    more = dict(QAT_SAC)
    given = more.pop("hyperparameters")
    return train(ON_PENDULUM, tmp_path_factory.mktemp("sac") / "out", *given, **more)


# What is written


def test_the_folder_is_laid_out_as_rl_zoos(ppo: TrainingResult) -> None:
    assert sorted(_tree(ppo.path)) == [
        "0.monitor.csv",
        "CartPole-v1",
        "CartPole-v1.zip",
        "CartPole-v1/args.yml",
        "CartPole-v1/config.yml",
        "CartPole-v1/initial_weights.safetensors",
        "CartPole-v1/vecnormalize.pkl",
        "best_model.zip",
        "best_model_vecnormalize.pkl",
        "evaluations.npz",
    ]


def test_the_result_says_what_was_done(ppo: TrainingResult) -> None:
    assert (ppo.algorithm, ppo.env_id, ppo.seed) == ("ppo", "CartPole-v1", 0)
    assert (ppo.steps, ppo.new_steps, ppo.complete, ppo.artifact) == (256, 256, True, None)
    assert ppo.seconds > 0
    assert ppo.best_return is not None
    assert ppo.best_return >= np.mean(_returns(ppo.evaluation))


def test_settings_are_readable(ppo: TrainingResult, ppo_int8: TrainingResult) -> None:
    config = yaml.safe_load((ppo.path / "CartPole-v1" / "config.yml").read_text())
    assert config["n_steps"] == 32
    assert config["n_envs"] == 2
    arguments = yaml.safe_load((ppo.path / "CartPole-v1" / "args.yml").read_text())
    assert arguments["algo"] == "ppo"
    assert arguments["env"] == "CartPole-v1"
    assert arguments["env_kwargs"] == SHORT
    assert (arguments["seed"], arguments["n_timesteps"], arguments["qat"]) == (0, 256, None)
    arguments = yaml.safe_load((ppo_int8.path / "CartPole-v1" / "args.yml").read_text())
    assert arguments["qat"]["spec"] == QuantizationAwareTraining().to_json()


def test_evaluations_are_those_of_stable_baselines3(ppo: TrainingResult) -> None:
    arrays = _evaluations(ppo.path)
    assert sorted(arrays) == ["best", "ep_lengths", "results", "seconds", "timesteps"]
    assert arrays["timesteps"].tolist() == [128, 256]
    assert arrays["results"].shape == arrays["ep_lengths"].shape == (2, 2)
    assert arrays["results"][-1].tolist() == _returns(ppo.evaluation)
    assert ppo.best_return == arrays["results"].mean(axis=1).max()


@pytest.mark.parametrize("name", ["CartPole-v1", "best_model"])
def test_stable_baselines3_loads_it_and_acts_as_our_own_agent(
    name: str, ppo: TrainingResult
) -> None:
    normalizer = "CartPole-v1/vecnormalize" if name == "CartPole-v1" else f"{name}_vecnormalize"
    env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
    normalize = VecNormalize.load(str(ppo.path / f"{normalizer}.pkl"), env)
    model = PPO.load(ppo.path / f"{name}.zip", device="cpu")
    observations = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    expected, _ = model.predict(normalize.normalize_obs(observations), deterministic=True)
    actions = load_actor(ppo.path / f"{name}.zip").act(observations)
    assert (actions == expected).mean() >= 0.99
    assert 0 < expected.mean() < 1


def test_it_loads_where_this_library_is_not_installed(
    ppo_int8: TrainingResult, sac_int8: TrainingResult
) -> None:
    code = (
        "import sys; sys.modules['squeezerl'] = None\n"
        "import gymnasium\n"
        "from stable_baselines3 import PPO, SAC\n"
        "from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize\n"
        "env = DummyVecEnv([lambda: gymnasium.make('CartPole-v1')])\n"
        "env = VecNormalize.load(sys.argv[1] + '/CartPole-v1/vecnormalize.pkl', env)\n"
        "model = PPO.load(sys.argv[1] + '/CartPole-v1.zip', env=env)\n"
        "model.learn(64)\n"
        "SAC.load(sys.argv[2] + '/Pendulum-v1.zip')\n"
        "print(model.num_timesteps)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, ppo_int8.path, sac_int8.path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "64"


def test_the_last_evaluation_is_that_of_the_saved_agent(ppo: TrainingResult) -> None:
    assert _played(load_actor(ppo.path), "CartPole-v1") == _returns(ppo.evaluation)
    environment = load_agent(ppo.path).source
    assert (environment.env_id, environment.env_kwargs) == ("CartPole-v1", SHORT)


def test_the_best_evaluation_is_that_of_the_best_model(ppo: TrainingResult) -> None:
    returns = _played(load_actor(ppo.path / "best_model.zip"), "CartPole-v1")
    assert np.mean(returns) == ppo.best_return


def test_a_training_for_int8_gives_artifacts_that_act_as_evaluated(
    ppo_int8: TrainingResult, sac_int8: TrainingResult
) -> None:
    for result in (ppo_int8, sac_int8):
        assert result.artifact == result.path / "int8"
        assert read_artifact(result.artifact).manifest.specs is not None
        dtypes = {layer.weight_dtype for layer in read_artifact(result.artifact).manifest.layers}
        assert dtypes == {"int8"}
        actor = load_actor(result.artifact)
        assert read_artifact(result.artifact).manifest.source.env_id == result.env_id
        assert _played(actor, result.env_id) == _returns(result.evaluation)
        best = load_actor(result.path / "best_int8")
        assert np.mean(_played(best, result.env_id)) == result.best_return


def test_the_zip_beside_an_artifact_holds_its_weights_in_float(sac_int8: TrainingResult) -> None:
    agent = load_agent(sac_int8.path)
    model = SAC.load(sac_int8.path / "Pendulum-v1.zip", device="cpu")
    observations = np.random.default_rng(0).uniform(-1, 1, (100, 3)).astype(np.float32)
    np.testing.assert_allclose(
        load_actor(agent).act(observations),
        model.predict(observations, deterministic=True)[0],
        atol=1e-5,
    )


def test_a_training_for_int8_shorter_than_a_window_ends_with_an_artifact(tmp_path: Path) -> None:
    # A window of ranges usually is 1,000 steps; here it must end earlier.
    output = tmp_path / "out"
    result = train(ON_PENDULUM, output, "train_freq:50", steps=600, qat=QatConfig())
    assert result.artifact == output / "int8"
    actor = load_actor(result.artifact)
    assert _played(actor, "Pendulum-v1") == _returns(result.evaluation)


def test_int8_begins_soon_after_a_short_training_has_begun_to_learn(tmp_path: Path) -> None:
    # 50 of these steps are random, and a tenth of the others show what inputs are like.
    output = tmp_path / "out"
    train(ON_PENDULUM, output, "train_freq:10", qat=QatConfig(), should_stop=stop_after(9))
    checkpoint = checkpoint_in(output)
    assert checkpoint.steps == 90
    assert saved_state(output)["qat"]["enabled"]


def test_what_is_set_for_speed_is_undone(tmp_path: Path) -> None:
    train(ON_CARTPOLE, tmp_path / "out", steps=64)
    assert (torch.tensor(1e-39) * 1).item() > 0


# Determinism


def test_a_seed_decides_the_result(ppo: TrainingResult, tmp_path: Path) -> None:
    again = train(ON_CARTPOLE, tmp_path / "again", "normalize:true")
    assert _weights(again.path) == _weights(ppo.path)
    assert _returns(again.evaluation) == _returns(ppo.evaluation)
    other = train(ON_CARTPOLE, tmp_path / "other", "normalize:true", seed=1)
    assert _weights(other.path) != _weights(ppo.path)


def test_evaluations_do_not_change_what_is_learned(ppo: TrainingResult, tmp_path: Path) -> None:
    more = train(ON_CARTPOLE, tmp_path / "out", "normalize:true", evaluations=4, eval_episodes=1)
    assert _weights(more.path) == _weights(ppo.path)


def test_progress_is_reported(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    train(ON_CARTPOLE, tmp_path / "out", on_progress=told.append)
    assert told
    assert {progress.total_steps for progress in told} == {256}
    steps = [progress.steps for progress in told]
    assert steps == sorted(steps)


# Stopping and going on


def test_a_stopped_training_goes_on_to_the_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    stopped = train(ON_CARTPOLE, output, "normalize:true", should_stop=stop_after(2))
    assert (stopped.complete, stopped.steps) == (False, 128)
    assert not (output / "CartPole-v1.zip").exists()
    assert _evaluations(output)["timesteps"].tolist() == [128]
    before = _evaluations(output)["results"].tolist()
    checkpoint = checkpoint_in(output)
    with np.load(checkpoint.path / "arrays.npz") as file:
        count, mean = float(file["observation.count"]), file["observation.mean"]

    result = train(ON_CARTPOLE, output, "normalize:true", resume=True)
    assert (result.complete, result.steps, result.new_steps) == (True, 256, 128)
    assert _evaluations(output)["timesteps"].tolist() == [128, 256]
    assert _evaluations(output)["results"].tolist()[:1] == before
    env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
    normalize = VecNormalize.load(str(output / "CartPole-v1" / "vecnormalize.pkl"), env)
    assert normalize.obs_rms.count > count + 127
    assert not np.array_equal(normalize.obs_rms.mean, mean)
    assert not (output / "checkpoints").exists()
    assert {path.name for path in output.glob("*.monitor.csv")} == {
        "0.monitor.csv",
        "1.monitor.csv",
    }
    assert _played(load_actor(output), "CartPole-v1") == _returns(result.evaluation)
    model = PPO.load(output / "CartPole-v1.zip", device="cpu")
    assert model.num_timesteps == 256
    assert model._n_updates == 4 * model.n_epochs


def test_a_stopped_training_for_int8_goes_on_in_int8(tmp_path: Path) -> None:
    output = tmp_path / "out"
    settings: dict[str, Any] = {**QAT_SAC, "evaluations": 4}
    given = settings.pop("hyperparameters")
    stopped = train(ON_PENDULUM, output, *given, should_stop=stop_after(75), **settings)
    assert (stopped.complete, stopped.steps) == (False, 1500)
    assert stopped.artifact is None
    checkpoint = checkpoint_in(output)
    assert saved_state(output)["qat"]["enabled"]
    with np.load(checkpoint.path / "arrays.npz") as file:
        assert len(file["replay.rewards"]) == 1500
        replay = file["replay.observations"]

    stopped = train(ON_PENDULUM, output, *given, should_stop=stop_after(1), resume=True, **settings)
    assert (stopped.steps, stopped.new_steps) == (1520, 20)
    checkpoint = checkpoint_in(output)
    with np.load(checkpoint.path / "arrays.npz") as file:
        np.testing.assert_array_equal(file["replay.observations"][:1500], replay)
        assert len(file["replay.rewards"]) == 1520
    assert saved_state(output)["qat"]["enabled"]

    result = train(ON_PENDULUM, output, *given, resume=True, **settings)
    assert (result.complete, result.steps) == (True, 2200)
    assert result.artifact is not None
    actor = load_actor(result.artifact)
    assert _played(actor, "Pendulum-v1") == _returns(result.evaluation)
    timesteps = _evaluations(output)["timesteps"]
    assert len(timesteps) == len(set(timesteps)) == 4


@pytest.mark.parametrize("backend", ["envpool", "gymnasium"])
def test_a_training_that_goes_on_meets_other_episodes(backend: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 200, "backend": backend}
    for resume in (False, True):
        stop = stop_after(60)
        train(ON_PENDULUM, tmp_path / "out", resume=resume, should_stop=stop, **options)
    checkpoint = checkpoint_in(tmp_path / "out")
    with np.load(checkpoint.path / "arrays.npz") as file:
        observations = file["replay.observations"]
    assert len(observations) == 120
    assert not np.array_equal(observations[60], observations[0])


def test_a_training_that_was_stopped_at_once_goes_on(tmp_path: Path) -> None:
    stopped = train(ON_CARTPOLE, tmp_path / "out", should_stop=lambda: True)
    assert (stopped.complete, stopped.steps) == (False, 0)
    result = train(ON_CARTPOLE, tmp_path / "out", resume=True)
    assert (result.complete, result.steps, result.new_steps) == (True, 256, 256)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("stopped") / "out"
    train(ON_CARTPOLE, output, should_stop=stop_after(2))
    return output


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A copy of a training of PPO that was stopped after 128 of 256 steps."""
    return shutil.copytree(stopped_once, tmp_path / "out")


@pytest.mark.parametrize(
    ("what", "more", "options", "difference"),
    [
        (ON_CARTPOLE, (), {"seed": 1}, "seed 0, not 1"),
        (ON_CARTPOLE, ("gamma:0.5",), {}, "gamma 0.98, not 0.5"),
        (ON_CARTPOLE, (), {"qat": QatConfig()}, "qat None, not"),
        (ON_CARTPOLE, (), {"env_kwargs": {"max_episode_steps": 30}}, "env_kwargs"),
        (("trpo", "CartPole-v1"), (), {}, "algo 'ppo', not 'trpo'"),
        (("ppo", "Acrobot-v1"), (), {}, "not a training of Acrobot-v1"),
    ],
)
def test_going_on_with_other_settings_is_refused(
    what: tuple[str, str], more: tuple[str, ...], options: dict[str, Any], difference: str,
    stopped: Path,
) -> None:  # fmt: skip
    before = _tree(stopped)
    with pytest.raises(OutputError, match=difference):
        train(what, stopped, *more, resume=True, **options)
    assert _tree(stopped) == before


def test_going_on_with_another_number_of_episodes_is_refused(stopped: Path) -> None:
    # evaluations.npz is a matrix: each evaluation has as many episodes as the others.
    before = _tree(stopped)
    with pytest.raises(OutputError, match="was started with eval_episodes 2, not 3"):
        train(ON_CARTPOLE, stopped, resume=True, eval_episodes=3)
    assert _tree(stopped) == before


def test_going_on_to_fewer_steps_than_were_made_is_refused(tmp_path: Path) -> None:
    train(ON_PENDULUM, tmp_path / "out", steps=200, should_stop=stop_after(150))
    message = "has 150 steps already, more than the 100 that were asked for"
    with pytest.raises(OutputError, match=message):
        train(ON_PENDULUM, tmp_path / "out", steps=100, resume=True)


def test_a_replay_buffer_that_grows_keeps_what_it_held(tmp_path: Path) -> None:
    # It is as large as the number of steps, which may differ when the training goes on.
    output = tmp_path / "out"
    train(ON_PENDULUM, output, steps=200, should_stop=stop_after(150))
    result = train(ON_PENDULUM, output, steps=300, resume=True, should_stop=stop_after(10))
    assert result.steps == 160
    checkpoint = checkpoint_in(output)
    with np.load(checkpoint.path / "arrays.npz") as file:
        assert len(file["replay.rewards"]) == 160


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="not empty, and not a training of CartPole-v1"):
        train(ON_CARTPOLE, tmp_path, resume=resume)
    assert _tree(tmp_path) == {"thesis.tex": b"precious"}


def test_a_training_is_not_overwritten(stopped: Path, ppo: TrainingResult) -> None:
    for output in (stopped, ppo.path):
        before = _tree(output)
        with pytest.raises(OutputError, match="holds a training already; `resume=True`"):
            train(ON_CARTPOLE, output, "normalize:true")
        assert _tree(output) == before


def test_going_on_with_a_complete_training_changes_nothing(
    ppo: TrainingResult, tmp_path: Path
) -> None:
    output = shutil.copytree(ppo.path, tmp_path / "out")
    before = _tree(output)
    train(ON_CARTPOLE, output, "normalize:true", resume=True)
    assert _tree(output) == before


def test_going_on_with_a_complete_training_gives_its_result(
    ppo: TrainingResult, tmp_path: Path
) -> None:
    output = shutil.copytree(ppo.path, tmp_path / "out")
    result = train(ON_CARTPOLE, output, "normalize:true", resume=True)
    assert (result.complete, result.steps, result.new_steps) == (True, 256, 0)
    assert result.best_return == ppo.best_return


def test_going_on_with_a_complete_training_of_another_seed_is_refused(
    ppo: TrainingResult, tmp_path: Path
) -> None:
    output = shutil.copytree(ppo.path, tmp_path / "out")
    before = _tree(output)
    with pytest.raises(OutputError, match="seed"):
        train(ON_CARTPOLE, output, "normalize:true", seed=5, resume=True)
    assert _tree(output) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.pt").write_bytes(b"PK\3\4"),
        lambda folder: (folder / "arrays.npz").unlink(),
        lambda folder: (folder / "training.json").write_text("{}"),
        lambda folder: _change_notes(folder, {"evil": 1}),
        lambda folder: _change_notes(folder, None),
    ],
    ids=["model", "arrays", "description", "notes", "no-notes"],
)
def test_a_damaged_checkpoint_is_refused(damage: Any, stopped: Path) -> None:
    checkpoint = checkpoint_in(stopped)
    damage(checkpoint.path)
    with pytest.raises(CheckpointError, match=r"checkpoints/\d+: damaged"):
        train(ON_CARTPOLE, stopped, resume=True)


def _change_notes(folder: Path, notes: Any) -> None:
    path = folder / "training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notes": notes}))


# Starting from an agent


def test_it_starts_from_the_weights_of_an_agent(ppo: TrainingResult, tmp_path: Path) -> None:
    output = tmp_path / "out"
    train(ON_CARTPOLE, output, "normalize:true", seed=3, init=ppo.path, should_stop=lambda: True)
    checkpoint = checkpoint_in(output)
    state = saved_state(output)
    theirs = PPO.load(ppo.path / "CartPole-v1.zip", device="cpu").policy.state_dict()
    assert plain(state["parameters"]["policy"]) == plain(theirs)
    with np.load(checkpoint.path / "arrays.npz") as file:
        env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
        normalize = VecNormalize.load(str(ppo.path / "CartPole-v1" / "vecnormalize.pkl"), env)
        np.testing.assert_allclose(file["observation.mean"], normalize.obs_rms.mean, atol=1e-4)
        np.testing.assert_allclose(file["observation.var"], normalize.obs_rms.var, rtol=1e-3)


def test_it_starts_from_the_bundled_agent(tmp_path: Path) -> None:
    output = tmp_path / "out"
    train(
        ("ppo", "HalfCheetah-v5"),
        output,
        "net_arch:dict(pi=[128, 128], vf=[64, 64])",
        "activation_fn:ReLU",
        "normalize:true",
        init="demo",
        should_stop=lambda: True,
    )
    state = saved_state(output)["parameters"]["policy"]
    assert state["action_net.bias"].tolist() == tensors(load_agent("demo").network)["layer2.bias"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("normalize:true", "net_arch:[8]"), "networks are not those of this training"),
        (("normalize:false",), "normalize:true"),
    ],
)
def test_an_agent_that_does_not_fit_is_refused(
    more: tuple[str, ...], message: str, ppo: TrainingResult, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        train(ON_CARTPOLE, tmp_path / "out", *more, init=ppo.path)


def test_an_agent_of_another_algorithm_is_refused(ppo: TrainingResult, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="its networks are not those of this training"):
        train(("dqn", "CartPole-v1"), tmp_path / "out", init=ppo.path)


def test_it_starts_from_an_agent_whose_rewards_alone_were_normalised(tmp_path: Path) -> None:
    given = "normalize:dict(norm_obs=False, norm_reward=True)"
    first = train(ON_CARTPOLE, tmp_path / "first", given, steps=64)
    output = tmp_path / "second"
    train(ON_CARTPOLE, output, given, steps=64, init=first.path, should_stop=lambda: True)
    theirs = PPO.load(first.path / "CartPole-v1.zip", device="cpu").policy.state_dict()
    assert plain(saved_state(output)["parameters"]["policy"]) == plain(dict(theirs))


def test_the_environment_is_that_of_the_agent_unless_given(
    ppo: TrainingResult, tmp_path: Path
) -> None:
    result = train_as(
        ("ppo", None), tmp_path / "out", init=ppo.path, should_stop=lambda: True,
        hyperparameters=("net_arch:[16, 16]", "normalize:true"),
    )  # fmt: skip
    assert (result.env_id, result.complete) == ("CartPole-v1", False)
    arguments = yaml.safe_load((result.path / "CartPole-v1" / "args.yml").read_text())
    assert arguments["env_kwargs"] == SHORT


def test_without_an_agent_the_environment_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="`env` is missing"):
        train_as(("ppo", None), tmp_path / "out")
    assert _tree(tmp_path) == {}


# Refusals leave nothing behind


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": "missing.zip"}, CheckpointError, "missing.zip: no such file"),
        (
            {"qat": QatConfig(spec=QuantizationAwareTraining(keep=("layer7",)))},
            SpecError,
            r"\['layer7'\]; the layers are layer0, layer1, layer2",
        ),
    ],
)
def test_what_is_refused_leaves_nothing(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(ON_CARTPOLE, tmp_path / "out", **options)
    assert _tree(tmp_path) == {}


def test_nothing_is_left_in_the_systems_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stable-Baselines3's own logger makes an empty folder there for each training."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    train(ON_CARTPOLE, tmp_path / "ppo", steps=64, should_stop=stop_after(1))
    train(ON_CARTPOLE, tmp_path / "ppo", steps=64, resume=True)
    train(ON_PENDULUM, tmp_path / "sac", steps=100)
    train(ON_CARTPOLE, tmp_path / "tracked", steps=64, track="tensorboard")
    assert list(temporary.iterdir()) == []


def test_evaluations_fall_on_their_steps_once(tmp_path: Path) -> None:
    # 3 * (100 / 30) is 10, but 10 // (100 / 30) is 2.
    train(ON_PENDULUM, tmp_path / "out", steps=100, evaluations=30, eval_episodes=1)
    assert len(_evaluations(tmp_path / "out")["timesteps"]) == 30
