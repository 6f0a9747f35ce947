from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from command import invoke, run, tree
from gymnasium.spaces import Box

from made_agents import Recipe, SpacesOnly, make_model

VECTOR = Box(-1, 1, (3,))
UNSUPPORTED: dict[str, tuple[str, str, gym.Space[Any], str]] = {
    "cnn": ("PPO", "CnnPolicy", Box(0, 255, (36, 36, 1), np.uint8), "CNN"),
    "recurrent": ("RecurrentPPO", "MlpLstmPolicy", VECTOR, "recurrent"),
}
SMALL = ("--episodes", "2")
BAD_ARGUMENTS: list[tuple[str, str]] = [
    ("inspect missing.zip", "missing.zip: no such file"),
    ("--plugin missing.py inspect demo", "plugin .*missing.py cannot be imported: no such file"),
    ("inspect not_a_zip.zip", "not_a_zip.zip: not a readable zip"),
    ("inspect empty", "empty: an empty folder; no known kind of agent: .*stable-baselines3"),
    (f"inspect {'a' * 300}", "name too long"),
    ("inspect demo --vecnormalize missing.pkl", "missing.pkl: no such file"),
    ("evaluate missing", "missing: no such file"),
    ("evaluate demo --env Nope-v1", "unknown environment 'Nope-v1'"),
    ("evaluate demo --env HalfCheetha-v5", "did you mean HalfCheetah-v5"),
    ("evaluate demo --env no_module:Task-v0", "no_module:Task-v0: No module named 'no_module'"),
    ("evaluate demo --env FrozenLake-v1", "Discrete observations are not supported"),
    ("evaluate demo --env Ant-v4", r"\(17,\).*Ant-v4 has .*\(27,\)"),
    ("evaluate demo --env CartPole-v1", "CartPole-v1 has .* 2 discrete actions"),
    ("evaluate demo --backend foo", "--backend 'foo' is not one of auto, envpool, gymnasium"),
    ("evaluate demo --backend envpool --env FrozenLake-v9", "EnvPool cannot run"),
    ("evaluate demo --env-kwargs foo:1", "foo"),
    ("evaluate demo --env-kwargs foo", "form name:value"),
    ("evaluate demo --env-kwargs 1:2", "form name:value"),
    ("evaluate demo --env-kwargs reset_noise_scale:[1", "unreadable value"),
    ("evaluate demo --env-kwargs reset_noise_scale:2020-13-45", "env-kwargs|HalfCheetah-v5"),
    ("evaluate demo --env-kwargs reset_noise_scale:x", "HalfCheetah-v5"),
    ("evaluate demo --env-kwargs xml_file:nowhere.xml", "HalfCheetah-v5"),
    ("evaluate demo --episodes 0", "--episodes must be .*not 0"),
    ("evaluate demo --episodes -5", "--episodes must be .*not -5"),
    ("evaluate demo --seed -1", "--seed must be .*not -1$"),
    ("evaluate demo --seed -200000000", "--seed must be .*not -200000000$"),
    ("evaluate demo --seed 500000001", "--seed must be .*not 500000001$"),
    ("evaluate demo --seed 1300000000", "--seed must be .*not 1300000000$"),
    ("evaluate demo --against missing", "missing: no such file"),
    ("evaluate demo --against not_an_artifact", "not_an_artifact"),
    ("evaluate not_an_artifact", "not_an_artifact"),
    ("evaluate demo --against demo --retain 0", "--retain must be above 0"),
    ("evaluate demo --against demo --retain 95", "0.95 is 95 %"),
    ("evaluate demo --against demo --retain nan", "--retain must be .*nan"),
    ("evaluate demo --against demo --max-episodes -1", "--max-episodes must be"),
    ("compress missing --method ptdq -o out", "missing: no such file"),
    (
        "compress demo --method nope -o out",
        "unknown method 'nope'; known are float, int8, .*ptdq, .*ptsq, .*l1, l2",
    ),
    ("compress demo --method l1 -o out", "needs a --ratio"),
    ("compress demo --method ptdq --ratio 0.3 -o out", "takes no --ratio"),
    ("compress demo --method l1 --ratio 0 -o out", "out of range"),
    ("compress demo --method l2 --ratio 1 -o out", "out of range"),
    ("compress demo --method l2 --ratio -0.3 -o out", "out of range"),
    ("compress demo --method l1 --ratio 30 -o out", "out of range.*0.3 removes 30 %"),
    ("compress demo --method l1 --ratio nan -o out", "out of range"),
    ("compress demo --method l1 --ratio 0.001 -o out", "layer0 has 128 neurons"),
    ("compress demo --method l1 --ratio 0.3 --naive -o out", "quantization only"),
    ("compress demo --method ptdq --env Nope-v1 -o out", "unknown environment 'Nope-v1'"),
    ("compress demo --method ptdq --env Ant-v4 -o out", r"\(17,\).*\(27,\)"),
    (
        "compress demo --method ptsq --calibration-episodes 0 -o out",
        "--calibration-episodes must be",
    ),
    ("compress demo --method ptsq --seed -5 -o out", "--seed must be .*not -5"),
    ("compress demo --method float -o full", "full: not empty.*--force"),
    ("compress demo --method float -o not_a_zip.zip", "exists and is not a folder"),
    ("compress demo --method float -o not_a_zip.zip/out", "cannot be written"),
    (f"compress demo --method float -o {'a' * 300}", "cannot be written"),
    ("compress demo --method ptdq --recipe ptsq -o out", "either --recipe or --method"),
    ("compress demo --recipe ptdq --naive -o out", "--naive go with --method"),
    ("compress demo --recipe nope -o out", "unknown method 'nope'; known are float, .*int8:static"),
    ("compress demo --recipe prune:l2 -o out", "lacks ratio; write prune:norm:ratio"),
    (
        "compress demo --recipe prune:l2:0.3:much -o out",
        "one value too many; write prune:norm:ratio",
    ),
    ("compress demo --recipe prune:l2:much -o out", "ratio cannot be 'much'"),
    ("compress demo --recipe prune:l2:3 -o out", "out of range"),
    ("compress demo --recipe int8:static:bits=4 -o out", "'bits' is unknown .*per_channel"),
    (
        "compress demo --recipe ptdq|ptsq -o out",
        "which gives integers",
    ),
    ("compress demo --recipe float|ptdq -o out", "'float' is a recipe without steps; leave it out"),
    ("compress demo --recipe qat -o out", "qat happens in training: squeezerl train .*--qat int8"),
    ("squeeze demo --recipe nope -o out", "unknown method 'nope'; known are float"),
    ("squeeze demo --recipe ptdq --recipe int8:dynamic -o out", "--recipe names ptdq twice"),
    ("squeeze demo --workers 0 -o out", "--workers must be at least 1"),
    ("evaluate demo --runtime nope", "unknown runtime 'nope'; known are native, ort, sb3, torch"),
    ("evaluate demo --env CartPole-v1 --env-kwargs sutton_barto_reward:true", "other --env-kwargs"),
    ("squeeze missing -o out", "missing: no such file"),
    ("squeeze demo --env Nope-v1 -o out", "unknown environment 'Nope-v1'"),
    ("squeeze demo --env Nope-v1 -o a/b/out", "unknown environment 'Nope-v1'"),
    ("squeeze demo --env Ant-v4 -o a/b/out", r"\(17,\).*\(27,\)"),
    ("squeeze demo --env CartPole-v1 -o out", "CartPole-v1 has .* 2 discrete actions"),
    ("squeeze demo -o full", "full: not empty.*--force"),
    ("squeeze demo -o not_a_zip.zip/out", "cannot be written"),
    (f"squeeze demo -o {'a' * 300}", "cannot be written"),
    ("squeeze demo --retain 0 -o out", "--retain must be above 0"),
    ("squeeze demo --retain -1 -o out", "--retain must be above 0"),
    ("squeeze demo --retain 95 -o out", "0.95 is 95 %"),
    ("squeeze demo --episodes 0 -o out", "--episodes must be"),
    ("squeeze demo --episodes -5 -o out", "--episodes must be"),
    ("squeeze demo --seed -1 -o out", "--seed must be"),
    ("squeeze demo --seed 500000001 -o out", "--seed must be"),
    ("squeeze demo --backend foo -o out", "--backend 'foo' is not one of"),
    ("squeeze demo --env-kwargs foo -o out", "form name:value"),
    ("squeeze demo --watts-per-core 0 -o out", "--watts-per-core"),
    ("profile missing", "missing: no such file"),
    ("profile demo missing", "missing: no such file"),
    ("profile not_an_artifact", "not_an_artifact"),
    ("profile not_a_zip.zip", "not a readable zip"),
    ("profile demo --runtime nope", "unknown runtime 'nope'; known are native, ort, sb3, torch"),
    ("profile demo --runtime ort,,torch", "unknown runtime ''"),
    ("profile demo --runtime ort,ort", "--runtime must name each runtime once"),
    ("profile demo --batch 0", "--batch must be"),
    ("profile demo --batch 100000", "--batch must be"),
    ("profile demo --threads 0", "--threads must be"),
    ("profile demo --threads 100000", "--threads must be 1 to"),
    ("profile demo --seconds 0", "--seconds must be"),
    ("profile demo --seconds 1e9", "--seconds must be"),
    ("profile demo --seconds nan", "--seconds must be"),
    ("profile demo --precision 0", "--precision must be"),
    ("profile demo --precision 5", "--precision must be"),
    ("profile demo --watts-per-core -1", "--watts-per-core"),
    ("profile demo --watts-per-core nan", "--watts-per-core"),
    ("profile demo --energy wattmeter", "--energy 'wattmeter' is not one of auto, none"),
    (
        "profile demo --energy rapl --watts-per-core 5",
        "--watts-per-core .*estimate.* --energy 'rapl'",
    ),
    ("profile demo --seed -1", "--seed must be"),
    ("profile demo --env Nope-v1", "unknown environment 'Nope-v1'"),
    ("profile demo --env CartPole-v1", "CartPole-v1 has .* 2 discrete actions"),
    ("profile demo --env-kwargs foo", "form name:value"),
    ("profile demo --vecnormalize missing.pkl", "missing.pkl: no such file"),
    ("profile demo demo --vecnormalize missing.pkl", "--vecnormalize is for one agent"),
    ("profile demo --observations missing.npy", "missing.npy: cannot be read as observations"),
    ("profile demo --observations not_a_zip.zip", "cannot be read as observations"),
    ("profile demo --observations empty", "cannot be read as observations"),
    ("profile demo --observations seen.npy", r"this policy needs \(n, 17\)"),
    ("profile demo --observations seen.npy --env Ant-v5", "takes the place of --env"),
    (
        "profile demo --observations seen.npy --episodes",
        "--observations take the place of an environment; give no --env and no --episodes",
    ),
    ("profile demo --beside missing.json", "missing.json: no such file"),
    ("profile demo --beside not_an_artifact/manifest.json", "not a profile that squeezerl wrote"),
    ("profile demo --beside /", "/: no such file"),
    ("profile demo -o empty", "empty: is a folder"),
    ("profile demo -o nowhere/profile.json", "its folder does not exist"),
    ("profile demo -o not_a_zip.zip/profile.json", "its folder does not exist"),
    (f"profile demo -o {'a' * 300}", "cannot be written"),
    (f"profile demo -o {'a' * 250}", "cannot be written"),
    ("profile demo --samples empty", "empty: is a folder"),
    ("profile demo -o same --samples ./same", "name the same file"),
]


def _is_refused(result: Any, exit_code: int, message: str) -> None:
    assert exit_code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    # At most one more line, with a command that does.
    assert all(line.startswith("try: ") for line in result.stderr.splitlines()[1:])
    assert re.search(message, result.stderr.rstrip("\n"))


@pytest.fixture
def cluttered(own_folder: Path) -> Path:
    """A folder with what users confuse."""
    (own_folder / "not_a_zip.zip").write_text("text")
    (own_folder / "empty").mkdir()
    (own_folder / "full").mkdir()
    (own_folder / "full" / "old.txt").write_text("precious")
    (own_folder / "not_an_artifact").mkdir()
    (own_folder / "not_an_artifact" / "manifest.json").write_text("{}")
    np.save(own_folder / "seen.npy", np.arange(30.0).reshape(10, 3))
    return own_folder


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_ARGUMENTS, ids=[arguments[:70] for arguments, _ in BAD_ARGUMENTS]
)
def test_bad_input_is_refused_and_leaves_nothing(
    arguments: str, message: str, cluttered: Path
) -> None:
    words = arguments.split()
    if words[0] == "evaluate" and "--episodes" not in words:
        words += SMALL
    before = tree(cluttered)
    result = invoke(*words)
    _is_refused(result, result.exit_code, message)
    assert tree(cluttered) == before


@pytest.mark.parametrize("kind", UNSUPPORTED)
@pytest.mark.parametrize("verb", ["inspect", "squeeze"])
def test_policies_that_are_not_supported_yet_are_named(
    kind: str, verb: str, own_folder: Path
) -> None:
    algorithm, policy, observation, name = UNSUPPORTED[kind]
    env = SpacesOnly(observation, Box(-1, 1, (2,)))
    recipe = Recipe(algorithm, policy_kwargs={"net_arch": [8]})
    make_model(recipe, env, policy).save(own_folder / "agent.zip")
    before = tree(own_folder)
    result = invoke(verb, "agent.zip", *(["-o", "out"] if verb == "squeeze" else []))
    _is_refused(result, result.exit_code, rf"agent\.zip: .*{name}.* supported yet")
    assert tree(own_folder) == before


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Acrobot-v1", "Pendulum-v1"])
@pytest.mark.parametrize("verb", ["evaluate", "squeeze", "compress", "profile"])
def test_a_discrete_agent_needs_its_environment(
    verb: str, env_id: str, balancing_zip: Path, own_folder: Path
) -> None:
    more = {"evaluate": [], "squeeze": ["-o", "out"], "compress": ["--method=ptdq", "-o", "out"]}
    more["profile"] = ["-o", "profile.json"]
    result = invoke(verb, balancing_zip, "--env", env_id, *more[verb])
    _is_refused(result, result.exit_code, f"2 discrete actions; {env_id} has")
    assert tree(own_folder) == {}


def test_an_agent_without_a_name_needs_an_environment(balancing_zip: Path) -> None:
    result = invoke("evaluate", balancing_zip)
    _is_refused(result, result.exit_code, "name the environment with --env")


def test_a_baseline_of_other_sizes_is_refused(balancing_zip: Path) -> None:
    result = invoke("evaluate", "demo", "--against", balancing_zip)
    _is_refused(result, result.exit_code, "2 discrete actions; HalfCheetah-v5 has")


def test_a_published_agent_needs_its_robot(published_agents: Path, own_folder: Path) -> None:
    agent = published_agents / "ppo" / "Hopper-v3_1"
    result = invoke("squeeze", agent, "--env", "HalfCheetah-v4", "-o", "out")
    _is_refused(result, result.exit_code, r"\(11,\).*HalfCheetah-v4 has .*\(17,\)")
    assert tree(own_folder) == {}


@pytest.mark.slow
def test_an_untrained_agent_is_refused(untrained_zip: Path, own_folder: Path) -> None:
    result = invoke(
        "squeeze", untrained_zip, "--env", "CartPole-v1", "--episodes", "20", "-o", "out"
    )
    _is_refused(result, result.exit_code, "not clearly better than random")
    assert tree(own_folder) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("verb", ["squeeze", "compress"])
def test_a_folder_that_may_not_be_written_is_refused(verb: str, own_folder: Path) -> None:
    locked = own_folder / "locked"
    locked.mkdir(mode=0o500)
    more = ["--method=float"] if verb == "compress" else []
    result = invoke(verb, "demo", *more, "-o", locked / "out")
    _is_refused(result, result.exit_code, "cannot be written")
    assert list(locked.iterdir()) == []


def test_a_damaged_artifact_is_refused(own_folder: Path) -> None:
    invoke("compress", "demo", "--method", "ptdq", "-o", "out")
    model = own_folder / "out" / "policy.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    result = invoke("evaluate", "out", *SMALL)
    _is_refused(result, result.exit_code, r"out: policy\.onnx is not the file")


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "inspect",
        "inspect demo --nonsense",
        "evaluate demo --episodes many",
        "compress demo --method l1 --ratio much -o out",
        "compress demo -o out",
        "squeeze demo",
        "profile",
        "profile demo --nonsense",
        "profile demo --batch many",
        "doctor demo",
    ],
)
def test_wrong_usage_ends_with_two_and_leaves_nothing(arguments: str, own_folder: Path) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert tree(own_folder) == {}


@pytest.mark.slow
def test_the_command_itself_reports_bad_input(cluttered: Path) -> None:
    before = tree(cluttered)
    result = run("squeeze", "demo", "--env", "CartPole-v1", "-o", "a/b/out")
    assert tree(cluttered) == before
    _is_refused(result, result.returncode, "CartPole-v1 has .* 2 discrete actions")


def test_markup_and_emoji_in_names_are_printed_as_they_are() -> None:
    name = "x[bold]:smile:[/y]"
    _is_refused(invoke("inspect", name), 2, re.escape(f"{name}: no such file"))
    result = invoke("compress", "demo", "--method", "float", "-o", name)
    assert result.exit_code == 0, result.exception
    assert f"{name}: " in result.stdout


def test_an_artifact_is_not_inspected_as_an_agent(own_folder: Path) -> None:
    invoke("compress", "demo", "--method", "ptdq", "-o", "out")
    result = invoke("inspect", "out")
    _is_refused(result, result.exit_code, "an artifact, not an agent")


def test_a_limit_without_a_comparison_is_refused(own_folder: Path) -> None:
    result = invoke("evaluate", "demo", "--episodes", "2", "--max-episodes", "4")
    _is_refused(result, result.exit_code, "add --against")
