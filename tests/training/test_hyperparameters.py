from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from made_agents import SpacesOnly
from squeezerl.agents.sources.stable_baselines3.files import read_yaml
from squeezerl.errors import HyperparameterError
from squeezerl.network.activations import TORCH_CLASSES
from squeezerl.network.policy import TORCH_ACTIVATIONS
from squeezerl.runtimes.sb3_predictor import algorithm_class
from squeezerl.training.hyperparameters import (
    Hyperparameters,
    Normalization,
    load_hyperparameters,
)
from squeezerl.training.hyperparameters.literal import read_literal
from squeezerl.training.hyperparameters.tables import ALGORITHMS, NOISY, POLICIES
from squeezerl.training.model import schedule

ROBOTS = ("HalfCheetah", "HumanoidStandup", "Ant", "Humanoid", "Hopper")
MUJOCO = [f"{robot}-{version}" for robot in ROBOTS for version in ("v4", "v5")]
CONTINUOUS = [*MUJOCO, "Pendulum-v1", "MountainCarContinuous-v0"]
DISCRETE = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]
ON_POLICY = ("trpo", "ppo", "a2c")
ENVS = {
    **{algorithm: [*CONTINUOUS, *DISCRETE] for algorithm in ON_POLICY},
    **dict.fromkeys(("ddpg", "td3", "sac", "tqc"), CONTINUOUS),
    **dict.fromkeys(("dqn", "qrdqn"), DISCRETE),
}
ENTRIES = [(algorithm, env) for algorithm, envs in ENVS.items() for env in ("Other-v0", *envs)]

# What a training gives itself, and classes and buffers of one's own, which are not supported.
NOT_SETTINGS = {
    "self",
    "policy",
    "env",
    "policy_kwargs",
    "action_noise",
    "replay_buffer_class",
    "replay_buffer_kwargs",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "optimize_memory_usage",
    "tensorboard_log",
    "verbose",
    "seed",
    "device",
    "_init_setup_model",
}
NOT_POLICY_SETTINGS = {
    "self",
    "observation_space",
    "action_space",
    "lr_schedule",
    "use_sde",
    "features_extractor_class",
    "features_extractor_kwargs",
    "normalize_images",
    "optimizer_class",
}


def _env(env_id: str) -> gym.Env:
    is_discrete = env_id in DISCRETE
    return SpacesOnly(Box(-1, 1, (3,)), Discrete(2) if is_discrete else Box(-1, 1, (2,)))


def _construct(algorithm: str, env_id: str, given: Hyperparameters) -> Any:
    model: dict[str, Any] = {
        key: schedule(value) if key in ("learning_rate", "clip_range") else value
        for key, value in given.model.items()
    }
    policy_kwargs = dict(given.policy_kwargs)
    if "activation_fn" in policy_kwargs:
        policy_kwargs["activation_fn"] = TORCH_ACTIVATIONS[policy_kwargs["activation_fn"]]
    if algorithm not in ON_POLICY:
        model["buffer_size"] = 64
    if given.noise is not None:
        model["action_noise"] = NormalActionNoise(np.zeros(2), np.full(2, given.noise[1]))
    vector_env = DummyVecEnv([lambda: _env(env_id)] * given.n_envs)
    make = algorithm_class(algorithm)
    return make("MlpPolicy", vector_env, device="cpu", policy_kwargs=policy_kwargs, **model)


def _file(folder: Path, settings: Any) -> str:
    path = folder / "mine.yml"
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
    return str(path)


# What comes with SqueezeRL


@pytest.mark.parametrize(("algorithm", "env_id"), ENTRIES)
def test_stable_baselines3_takes_every_packaged_entry(algorithm: str, env_id: str) -> None:
    given = load_hyperparameters(algorithm, env_id)
    like = "CartPole-v1" if algorithm in ("dqn", "qrdqn") else env_id
    model = _construct(algorithm, like, given)
    assert model.gamma == given.model.get("gamma", 0.99)
    assert given.n_timesteps is not None
    assert given.n_timesteps >= 20_000


@pytest.mark.parametrize("algorithm", ENVS)
def test_every_promised_environment_has_its_own_entry(algorithm: str) -> None:
    path = Path(inspect.getfile(load_hyperparameters)).with_name(f"{algorithm}.yml")
    assert set(yaml.safe_load(path.read_text())) == {"default", *ENVS[algorithm]}


@pytest.mark.parametrize(
    ("algorithm", "env_id", "rollout"),
    [
        ("ppo", "HalfCheetah-v5", 512),
        ("ppo", "Hopper-v4", 512),
        ("ppo", "Ant-v5", 2048),
        ("ppo", "HumanoidStandup-v5", 512),
        ("ppo", "Pendulum-v1", 4 * 1024),
        ("ppo", "CartPole-v1", 8 * 32),
        ("ppo", "Acrobot-v1", 16 * 256),
        ("ppo", "MountainCar-v0", 16 * 16),
        ("ppo", "MountainCarContinuous-v0", 8),
        ("ppo", "Other-v0", 2048),
        ("trpo", "HalfCheetah-v5", 2 * 1024),
        ("trpo", "Humanoid-v4", 2 * 1024),
        ("trpo", "Pendulum-v1", 2 * 1024),
        ("trpo", "MountainCarContinuous-v0", 2 * 2048),
        ("trpo", "CartPole-v1", 2 * 512),
        ("trpo", "Other-v0", 2048),
    ],
)
def test_an_update_learns_from_as_many_steps_as_the_zoos(
    algorithm: str, env_id: str, rollout: int
) -> None:
    given = load_hyperparameters(algorithm, env_id)
    assert given.n_envs * given.model["n_steps"] == rollout
    assert given.n_envs == (1 if rollout == 8 else 8)


@pytest.mark.parametrize("algorithm", ENVS)
@pytest.mark.parametrize("env_id", [*MUJOCO, "Other-v0"])
def test_on_policy_algorithms_see_normalised_observations(algorithm: str, env_id: str) -> None:
    normalize = load_hyperparameters(algorithm, env_id).normalize
    assert normalize == (Normalization() if algorithm in ON_POLICY else None)


def test_an_entry_becomes_its_parts() -> None:
    given = load_hyperparameters("td3", "HalfCheetah-v5")
    assert given == Hyperparameters(
        n_envs=1,
        n_timesteps=1_000_000,
        normalize=None,
        model={
            "learning_rate": 1e-3,
            "learning_starts": 10_000,
            "batch_size": 256,
            "train_freq": 1,
            "gradient_steps": 1,
        },
        policy_kwargs={"net_arch": [400, 300]},
        noise=("normal", 0.1),
        env_kwargs={},
        raw=given.raw,
    )
    assert given.raw["policy_kwargs"] == "dict(net_arch=[400, 300])"
    assert given.raw["noise_type"] == "normal"


def test_the_id_may_name_the_module_that_registers_it() -> None:
    assert load_hyperparameters("ppo", "gymnasium:Hopper-v5") == load_hyperparameters(
        "ppo", "Hopper-v5"
    )


# The tables


@pytest.mark.parametrize("algorithm", ENVS)
def test_the_settings_are_those_of_the_class(algorithm: str) -> None:
    has = set(inspect.signature(algorithm_class(algorithm).__init__).parameters) - NOT_SETTINGS
    assert set(ALGORITHMS[algorithm]) == has


@pytest.mark.parametrize("algorithm", ENVS)
def test_the_settings_of_the_networks_are_those_of_the_policy(algorithm: str) -> None:
    policy = algorithm_class(algorithm).policy_aliases["MlpPolicy"]
    has = set(inspect.signature(policy.__init__).parameters) - NOT_POLICY_SETTINGS
    assert set(POLICIES[algorithm]) == has


@pytest.mark.parametrize("algorithm", ENVS)
def test_action_noise_is_for_those_that_take_it(algorithm: str) -> None:
    parameters = inspect.signature(algorithm_class(algorithm).__init__).parameters
    assert (algorithm in NOISY) == ("action_noise" in parameters)


def test_loading_needs_neither_torch_nor_stable_baselines3() -> None:
    code = (
        "import sys; from squeezerl.training.hyperparameters import load_hyperparameters as load; "
        "load('td3', 'Hopper-v5'); "
        "assert not {'torch', 'gymnasium', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The user's files


def test_a_zoo_file_replaces_the_packaged_entry(tmp_path: Path) -> None:
    text = """
atari: {policy: CnnPolicy, frame_stack: 4}
Hopper-v5: &defaults
  policy: 'MlpPolicy'
  n_timesteps: !!float 2e6
  n_envs: 2
  normalize: "{'norm_obs': True, 'norm_reward': False}"
  policy_kwargs: "dict(
                    log_std_init=-2,
                    activation_fn=nn.Tanh,
                    net_arch=[dict(pi=[32], vf=[64, 64])]
                  )"
Ant-v5:
  <<: *defaults
  gamma: 0.9
"""
    path = _file(tmp_path, text)
    given = load_hyperparameters("ppo", "Ant-v5", [path])
    assert (given.n_envs, given.n_timesteps) == (2, 2_000_000)
    assert given.normalize == Normalization(norm_reward=False)
    assert given.model == {"gamma": 0.9}
    assert given.policy_kwargs == {
        "log_std_init": -2,
        "activation_fn": "Tanh",
        "net_arch": {"pi": [32], "vf": [64, 64]},
    }
    with pytest.raises(HyperparameterError, match=r"unknown environment in .*'Ant-v6'.*did you m"):
        load_hyperparameters("ppo", "Ant-v6", [path])


def test_a_file_may_have_a_default(tmp_path: Path) -> None:
    path = _file(tmp_path, {"default": {"gamma": 0.5}})
    assert load_hyperparameters("sac", "Ant-v5", [path]).model == {"gamma": 0.5}


def test_a_config_of_the_zoo_is_one_environments_settings(tmp_path: Path) -> None:
    text = """
!!python/object/apply:collections.OrderedDict
- - - gradient_steps
    - -1
  - - noise_std
    - 0.1
  - - noise_type
    - ornstein-uhlenbeck
  - - train_freq
    - - 1
      - episode
"""
    given = load_hyperparameters("ddpg", "Pendulum-v1", [_file(tmp_path, text)])
    assert given.model == {"gradient_steps": -1, "train_freq": (1, "episode")}
    assert given.noise == ("ornstein-uhlenbeck", 0.1)
    assert given.n_timesteps is None


def test_the_raw_settings_can_be_read_again(tmp_path: Path) -> None:
    pairs = ["net_arch:[8, 8]", "gamma:0.9", "clip_range:lin_0.2"]
    given = load_hyperparameters("ppo", "Hopper-v5", pairs)
    path = _file(tmp_path, dict(given.raw))
    assert load_hyperparameters("ppo", "Other-v0", [path]) == given


def test_yaml_takes_1e3_for_text_but_a_number_is_meant(tmp_path: Path) -> None:
    given = load_hyperparameters("sac", "X", [_file(tmp_path, "learning_rate: 1e-3")])
    assert given.model == {"learning_rate": 1e-3}
    assert given.raw["learning_rate"] == 1e-3


def test_each_setting_of_a_published_config_reaches_the_model(published_agent: Path) -> None:
    config = next(published_agent.glob("*/config.yml"))
    algorithm, env_id = published_agent.parent.name, published_agent.name.removesuffix("_1")
    given = load_hyperparameters(algorithm, env_id, [str(config)])
    published = read_yaml(config)
    assert given.n_timesteps == int(float(published["n_timesteps"]))
    assert given.n_envs == published.get("n_envs", 1)
    assert (given.normalize is not None) == bool(published.get("normalize"))
    settings = set(published) & set(ALGORITHMS[algorithm])
    assert settings == set(given.model)
    model = _construct(algorithm, "CartPole-v1" if algorithm == "dqn" else "Pendulum-v1", given)
    for name in settings - {"buffer_size", "train_freq"}:
        value = getattr(model, name)
        expected = given.model[name]
        if isinstance(expected, str) and expected.startswith("lin_"):
            value, expected = value(1.0), float(expected.removeprefix("lin_"))
        elif callable(value):
            value = value(1.0)
        assert value == expected, name


@pytest.mark.parametrize("name", ["absent.yml", "no_such_thing", "gamma=0.9"])
def test_what_is_neither_a_file_nor_a_pair_is_refused(name: str) -> None:
    with pytest.raises(HyperparameterError, match=name):
        load_hyperparameters("ppo", "Hopper-v5", [name])


def test_two_files_are_refused() -> None:
    with pytest.raises(HyperparameterError, match="give one file"):
        load_hyperparameters("ppo", "Hopper-v5", ["a.yml", "b.yml"])


@pytest.mark.parametrize("text", ["- 1", "a: [", "Hopper-v5: 3", "Hopper-v5: [1]"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(HyperparameterError, match=r"mine\.yml"):
        load_hyperparameters("ppo", "Hopper-v5", [_file(tmp_path, text)])


# The user's pairs


@pytest.mark.parametrize(
    ("algorithm", "pair", "read"),
    [
        ("ppo", "learning_rate:1e-3", lambda given: given.model["learning_rate"] == 1e-3),
        (
            "ppo",
            "learning_rate: lin_1e-3 ",
            lambda given: given.model["learning_rate"][:4] == "lin_",
        ),
        ("ppo", "clip_range:'lin_0.2'", lambda given: given.model["clip_range"] == "lin_0.2"),
        ("ppo", "target_kl:None", lambda given: given.model["target_kl"] is None),
        ("ppo", "n_envs:4", lambda given: given.n_envs == 4),
        ("ppo", "n_timesteps:1e4", lambda given: given.n_timesteps == 10_000),
        ("ppo", "normalize:false", lambda given: given.normalize is None),
        (
            "ppo",
            "normalize:dict(norm_obs=True, clip_obs=5)",
            lambda given: given.normalize == Normalization(clip_obs=5),
        ),
        (
            "ppo",
            "policy_kwargs:dict(net_arch=[64, 64])",
            lambda given: given.policy_kwargs == {"net_arch": [64, 64]},
        ),
        (
            "ppo",
            "net_arch:[64,64]",
            lambda given: (
                given.policy_kwargs
                == {
                    "log_std_init": -2,
                    "ortho_init": False,
                    "activation_fn": "ReLU",
                    "net_arch": [64, 64],
                }
            ),
        ),
        ("ppo", "activation_fn:Tanh", lambda given: given.policy_kwargs["activation_fn"] == "Tanh"),
        (
            "a2c",
            "activation_fn:nn.ELU",
            lambda given: given.policy_kwargs["activation_fn"] == "ELU",
        ),
        ("sac", "ent_coef:auto_0.1", lambda given: given.model["ent_coef"] == "auto_0.1"),
        ("sac", "ent_coef:auto", lambda given: given.model["ent_coef"] == "auto"),
        ("sac", "target_entropy:-3", lambda given: given.model["target_entropy"] == -3),
        (
            "sac",
            "net_arch:dict(pi=[8], qf=[9])",
            lambda given: given.policy_kwargs["net_arch"]["qf"],
        ),
        ("sac", "buffer_size:1e5", lambda given: given.model["buffer_size"] == 100_000),
        (
            "td3",
            "train_freq:(1, 'episode')",
            lambda given: given.model["train_freq"][1] == "episode",
        ),
        ("td3", "noise_std:0.2", lambda given: given.noise == ("normal", 0.2)),
        ("td3", "noise_type:ornstein-uhlenbeck", lambda given: given.noise[0] != "normal"),
        (
            "td3",
            "optimizer_kwargs:dict(betas=(0.5, 0.9))",
            lambda given: given.policy_kwargs["optimizer_kwargs"] == {"betas": (0.5, 0.9)},
        ),
        ("tqc", "n_quantiles:10", lambda given: given.policy_kwargs == {"n_quantiles": 10}),
        (
            "ppo",
            "env_kwargs:dict(healthy_reward=0.5, healthy_z_range=(0.7, 2.0))",
            lambda given: given.env_kwargs["healthy_z_range"] == (0.7, 2.0),
        ),
        ("ppo", "env_wrapper:None", lambda given: "env_wrapper" not in given.raw),
    ],
)
def test_a_pair_replaces_one_setting(
    algorithm: str, pair: str, read: Callable[[Hyperparameters], bool]
) -> None:
    packaged = load_hyperparameters(algorithm, "Hopper-v5")
    given = load_hyperparameters(algorithm, "Hopper-v5", [pair])
    assert read(given)
    changed = {key for key in {*packaged.model} if packaged.model[key] != given.model.get(key)}
    assert changed <= {pair.partition(":")[0]}
    yaml.safe_dump(dict(given.raw))


def test_the_last_pair_counts_and_pairs_go_before_files(tmp_path: Path) -> None:
    path = _file(tmp_path, {"default": {"gamma": 0.5, "tau": 0.5}})
    given = load_hyperparameters("sac", "Ant-v5", ["gamma:0.6", path, "gamma:0.7"])
    assert given.model == {"gamma": 0.7, "tau": 0.5}


# What is refused

REFUSED = [
    ("pppo", "gamma:0.9", "unknown algorithm 'pppo'.*did you mean ppo"),
    (
        "ppo",
        "learnig_rate:1e-3",
        "unknown setting of ppo 'learnig_rate'.*did you mean learning_rate",
    ),
    ("ppo", "buffer_size:10", "unknown setting of ppo 'buffer_size'"),
    ("ppo", "noise_std:0.1", "unknown setting of ppo 'noise_std'"),
    ("ppo", "seed:1", "unknown setting of ppo 'seed'"),
    ("ppo", "gamma:1.1", "gamma is 1.1; it must be a number of at least 0 and at most 1"),
    ("ppo", "gamma:lin_0.9", "gamma is 'lin_0.9'"),
    ("ppo", "gamma:1e999", "gamma is inf"),
    ("ppo", "gamma:nan", "gamma is nan"),
    ("ppo", "gamma:True", "gamma is True"),
    ("ppo", "n_envs:0", "n_envs is 0; it must be a whole number of at least 1"),
    ("ppo", "n_steps:2.5", "n_steps is 2.5; it must be a whole number"),
    ("ppo", f"n_steps:{'9' * 4000}", "n_steps is 99.*99; it must be a whole number"),
    ("ppo", "batch_size:[64]", r"batch_size is \[64\]"),
    ("ppo", "n_timesteps:0", "n_timesteps is 0"),
    ("ppo", "learning_rate:0", "learning_rate is 0; it must be a number above 0 or lin_ and"),
    ("ppo", "learning_rate:lin_0", "learning_rate is 'lin_0'"),
    ("ppo", "learning_rate:lin_x", "learning_rate is 'lin_x'"),
    ("ppo", "use_sde:1", "use_sde is 1; it must be true or false"),
    ("ppo", "squash_output:true", "squash_output in policy_kwargs needs use_sde"),
    ("ppo", "policy:CnnPolicy", "policy 'CnnPolicy' is not supported"),
    ("ppo", "frame_stack:4", "frame_stack is not supported"),
    ("ppo", "env_wrapper:'a.B'", "env_wrapper is not supported"),
    ("ppo", "callback:['a.B']", "callback is not supported"),
    ("ppo", "vec_env_wrapper:'a.B'", "vec_env_wrapper is not supported"),
    ("sac", "replay_buffer_class:HerReplayBuffer", "replay_buffer_class is not supported"),
    (
        "ppo",
        "normalize:dict(norm_ob=True)",
        "setting in normalize 'norm_ob'.*did you mean norm_obs",
    ),
    ("ppo", "normalize:[1]", "normalize is .*a mapping"),
    ("ppo", "policy_kwargs:dict(net_arc=[1])", "in policy_kwargs 'net_arc'.*did you mean net_arch"),
    ("ppo", "policy_kwargs:[1]", "policy_kwargs is .*a mapping"),
    (
        "ppo",
        "policy_kwargs:dict(features_extractor_class='a.B')",
        "features_extractor_class in policy_kwargs is not supported",
    ),
    ("ppo", "net_arch:[0]", "each width of net_arch is 0"),
    ("ppo", "net_arch:[64, dict(pi=[8])]", "each width of net_arch is {'pi'"),
    ("ppo", "net_arch:dict(pi=[8], qf=[8])", "unknown setting in net_arch 'qf'"),
    ("ppo", "activation_fn:Softmax", "activation_fn is 'Softmax'; it must be one of ELU"),
    ("ppo", "activation_fn:nn.GELUTanh", "'nn.GELUTanh' is not one of nn.ELU"),
    ("sac", "net_arch:dict(pi=[8], vf=[8])", "net_arch is .*qf"),
    ("sac", "ent_coef:auto_0", "ent_coef is 'auto_0'"),
    ("sac", "ent_coef:automatic", "ent_coef is 'automatic'.* or auto or auto_ and a number"),
    ("a2c", "optimizer_kwargs:dict(eps=1e-5)", "add use_rms_prop: false"),
    ("td3", "optimizer_kwargs:dict(betas=0.9)", "betas is 0.9; it must be two numbers"),
    ("td3", "train_freq:(1, 'day')", "train_freq is .*pair such as"),
    ("td3", "train_freq:(0, 'step')", "train_freq is 0"),
    ("td3", "gradient_steps:-2", "gradient_steps is -2; .*at least 1 or -1"),
    ("td3", "noise_type:pink", "noise_type is 'pink'; it must be normal or ornstein-uhlenbeck"),
    ("sac", "noise_std:0.1", "noise_type is None"),
    ("sac", "noise_type:normal", "noise_std is None"),
    ("sac", "env_kwargs:3", "env_kwargs is 3"),
    ("sac", "env_kwargs:dict(a=dict(b=1))", "env_kwargs a is {'b': 1}"),
    ("tqc", "top_quantiles_to_drop_per_net:25", "must be below n_quantiles, 25"),
    ("dqn", "exploration_fraction:0", "exploration_fraction is 0"),
]


@pytest.mark.parametrize(("algorithm", "pair", "message"), REFUSED)
def test_an_impossible_setting_is_refused(algorithm: str, pair: str, message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        load_hyperparameters(algorithm, "Hopper-v5", [pair])


def test_episodes_between_updates_need_one_environment() -> None:
    with pytest.raises(HyperparameterError, match="needs n_envs: 1"):
        load_hyperparameters("td3", "Ant-v5", ["n_envs:2", "train_freq:(1, 'episode')"])


# Python's words

HOSTILE = [
    "__import__('os').system('touch {marker}')",
    "open('{marker}', 'w')",
    "dict(a=open('{marker}', 'w'))",
    "[open('{marker}', 'w') for _ in [1]]",
    "(lambda: open('{marker}', 'w'))()",
    'exec(\'open("{marker}", "w")\')',
    "nn.Module.__subclasses__()",
    "nn.Module",
    "nn.ReLU()",
    "nn.modules.activation.ReLU",
    "os.nn.ReLU",
    "__builtins__",
    "dict",
    "dict(**{{}})",
    "dict([('a', 1)])",
    "{{1: 2}}",
    "{{**{{}}}}",
    "{{1, 2}}",
    "[*[1]]",
    "1 + 1",
    "9 ** 9 ** 9",
    "'a' * 9",
    "f'{{1}}'",
    "b'a'",
    "1j",
    "...",
    "-'a'",
    "a := 1",
    "x = 1",
    "1; 2",
    "",
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_code_is_refused_and_not_run(tmp_path: Path, text: str) -> None:
    marker = tmp_path / "marker"
    text = text.format(marker=marker)
    with pytest.raises(HyperparameterError, match=r"is refused .* nothing was executed"):
        read_literal(text)
    path = _file(tmp_path, {"policy_kwargs": f"dict(net_arch={text})"})
    with pytest.raises(HyperparameterError):
        load_hyperparameters("ppo", "Hopper-v5", [path])
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 2000 + "]" * 2000,
        "[" * 90 + "]" * 90 + ".a" * 900,
        "-" * 4000 + "1",
        "a" + ".a" * 2000,
        "9" * 5000,
        "dict(a=" * 500 + "1" + ")" * 500,
        "1" + "," * 4000,
        "(" * 3_000_000,
    ],
)
def test_huge_text_is_refused(text: str) -> None:
    with pytest.raises(HyperparameterError) as error:
        read_literal(text)
    assert len(str(error.value)) < 600


def test_a_refusal_names_the_text() -> None:
    with pytest.raises(HyperparameterError, match=r"__import__\('os'\)\" is refused"):
        load_hyperparameters("ppo", "X", ["policy_kwargs:__import__('os')"])


@pytest.mark.parametrize("module", ["nn", "th.nn", "torch.nn"])
@pytest.mark.parametrize("name", TORCH_CLASSES)
def test_activations_are_read_by_name(module: str, name: str) -> None:
    assert read_literal(f"dict(activation_fn={module}.{name})") == {"activation_fn": name}


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(LITERALS)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert read_literal(repr(value)) == value


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}_", fullmatch=True), LITERALS, max_size=4))
def test_a_call_of_dict_is_a_mapping(value: dict[str, Any]) -> None:
    text = f"dict({', '.join(f'{key}={item!r}' for key, item in value.items())})"
    assert read_literal(text) == value


@given(st.text(max_size=40))
def test_any_text_is_data_or_refused(text: str) -> None:
    try:
        value = read_literal(text)
    except HyperparameterError as error:
        assert "nothing was executed" in str(error)  # noqa: PT017 - most texts are refused
    else:
        assert read_literal(repr(value)) == value


def test_a_mapping_replaces_the_packaged_settings() -> None:
    packaged = load_hyperparameters("sac", "Hopper-v5")
    given = load_hyperparameters("sac", "Hopper-v5", {"learning_rate": 1e-3})
    assert given.model == {"learning_rate": 1e-3}
    assert load_hyperparameters("sac", "Hopper-v5", packaged.raw) == packaged


def test_one_setting_needs_no_list() -> None:
    assert load_hyperparameters("sac", "Hopper-v5", "gamma:0.5").model["gamma"] == 0.5
