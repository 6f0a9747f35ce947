from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import invoke, run, the_object, tree

from promised_keys import lost_keys
from squeezerl.artifacts.artifact import read_artifact

pytestmark = pytest.mark.slow

KEYS = {
    "path", "algorithm", "env_id", "seed", "steps", "new_steps", "seconds", "complete",
    "best_return", "artifact", "evaluation",
}  # fmt: skip
SMALL = (
    "--hyperparams", "net_arch:[8, 8]", "--env-kwargs", "max_episode_steps:20",
    "--eval-episodes", "2", "--evaluations", "2", "--device", "cpu",
)  # fmt: skip
PPO = (
    "ppo",
    "CartPole-v1",
    "--hyperparams",
    "n_steps:32",
    "--hyperparams",
    "batch_size:32",
    *SMALL,
)
BAD_ARGUMENTS: list[tuple[str, str]] = [
    ("pppo CartPole-v1 -o out", r"unknown algorithm 'pppo'; .*did you mean ppo\?$"),
    ("reinforce CartPole-v1 -o out", "unknown algorithm 'reinforce'; known are trpo, ppo"),
    ("dqn HalfCheetah-v4 -o out", "HalfCheetah-v4 has continuous actions, dqn takes discrete"),
    ("sac CartPole-v1 -o out", "CartPole-v1 has discrete actions, sac takes continuous"),
    ("ppo Nope-v1 -o out", "unknown environment 'Nope-v1'"),
    ("ppo CartPol-v1 -o out", "did you mean CartPole-v[01]"),
    ("ppo no_module:Task-v0 -o out", "No module named 'no_module'"),
    ("ppo FrozenLake-v1 -o out", "Discrete observations are not supported"),
    ("ppo CartPole-v1 --hyperparams learning_rte:1 -o out", "learning_rte.*learning_rate"),
    ("ppo CartPole-v1 --hyperparams gamma:2 -o out", "gamma"),
    ("ppo CartPole-v1 --hyperparams missing.yml -o out", "missing.yml"),
    ("ppo CartPole-v1 --hyperparams not_a.zip -o out", "not_a.zip"),
    ("ppo CartPole-v1 --steps 0 -o out", "--steps must be 1 to .*not 0"),
    ("ppo CartPole-v1 --steps -5 -o out", "--steps must be .*not -5"),
    ("ppo CartPole-v1 --seed -1 -o out", "--seed must be .*not -1"),
    ("ppo CartPole-v1 --seed 500000001 -o out", "seed must be"),
    ("ppo CartPole-v1 --evaluations 0 -o out", "--evaluations must be"),
    ("ppo CartPole-v1 --eval-episodes 0 -o out", "--eval-episodes must be"),
    ("ppo CartPole-v1 --checkpoint-seconds -1 -o out", "--checkpoint-seconds must be"),
    ("ppo CartPole-v1 --checkpoint-seconds nan -o out", "--checkpoint-seconds must be"),
    ("ppo CartPole-v1 --threads 0 -o out", "--threads must be"),
    ("ppo CartPole-v1 --backend foo -o out", "'foo' is not one of auto, envpool, gymnasium"),
    ("ppo CartPole-v1 --env-kwargs foo -o out", "form name:value"),
    ("ppo CartPole-v1 --qat fp4 -o out", "--qat 'fp4' is not supported; int8 is"),
    ("ppo CartPole-v1 --qat int8 --qat-warmup 1 -o out", "--qat-warmup is a share .*not 1.0"),
    ("ppo CartPole-v1 --qat int8 --qat-warmup -0.5 -o out", "--qat-warmup is a share .*not -0.5"),
    ("ppo CartPole-v1 --qat int8 --qat-keep layer7 -o out", r"\['layer7'\]; the layers are"),
    ("qrdqn CartPole-v1 --qat int8 -o out", "--qat is not possible with qrdqn"),
    ("ppo CartPole-v1 --track paper -o out", "--track 'paper' is not one of tensorboard, wandb"),
    ("ppo CartPole-v1 --device abacus -o out", "--device 'abacus' is not one of"),
    ("ppo CartPole-v1 --init missing.zip -o out", "missing.zip: no such file"),
    ("ppo CartPole-v1 --init not_a.zip -o out", "not_a.zip: not a readable zip"),
    ("ppo CartPole-v1 --ticket-of missing -o out", "missing: not the folder of a training of Cart"),
    (
        "ppo CartPole-v1 --ticket-of full --ticket l3 -o out",
        "--ticket 'l3' is not one of l1, l2, random",
    ),
    ("ppo CartPole-v1 --ticket-of full --ticket-ratio 1 -o out", "ratio 1.0 is out of range"),
    ("ppo CartPole-v1 --ticket-of full --init demo -o out", "--ticket-of and --init exclude"),
    ("ppo CartPole-v1 --ticket-of full --qat int8 -o out", "--ticket-of and --qat exclude"),
    ("ppo -o out", "ENV is missing"),
    ("ppo CartPole-v1 --ticket random -o out", "name its folder with --ticket-of"),
    ("ppo CartPole-v1 --ticket-ratio 0.3 -o out", "name its folder with --ticket-of"),
    ("ppo CartPole-v1 -o not_a.zip", "exists and is not a folder"),
    ("ppo CartPole-v1 -o not_a.zip/out", "cannot be written"),
    ("ppo CartPole-v1 -o full", "full: not empty, and not a training"),
    ("ppo CartPole-v1 --resume -o full", "full: not empty, and not a training"),
    (f"ppo CartPole-v1 -o {'a' * 300}", "cannot be written"),
]


@pytest.fixture
def cluttered(own_folder: Path) -> Path:
    """A folder with what users confuse."""
    (own_folder / "not_a.zip").write_text("text")
    (own_folder / "full").mkdir()
    (own_folder / "full" / "old.txt").write_text("precious")
    return own_folder


def _is_refused(result: Any, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    first, *rest = result.stderr.splitlines()
    assert [line[:5] for line in rest] in ([], ["try: "])
    assert re.search(message, first)


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_ARGUMENTS, ids=[arguments[:70] for arguments, _ in BAD_ARGUMENTS]
)
def test_bad_input_is_refused_and_leaves_nothing(
    arguments: str, message: str, cluttered: Path
) -> None:
    before = tree(cluttered)
    result = invoke("train", *arguments.split())
    _is_refused(result, message)
    assert tree(cluttered) == before


def test_a_disk_that_is_too_full_is_refused_before_anything_is_written(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full = SimpleNamespace(total=10**12, used=10**12 - 10**8, free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: nearly_full)
    result = invoke("train", "sac", "Pendulum-v1", "-o", "a/b/out")
    _is_refused(result, r"need \d+\.\d GB, 0\.1 GB are free .*\(--hyperparams buffer_size:100000\)")
    assert tree(own_folder) == {}


def test_a_replay_buffer_larger_than_the_memory_is_refused(own_folder: Path) -> None:
    result = invoke(
        "train", "sac", "Pendulum-v1", "--steps", "9000000000",
        "--hyperparams", "buffer_size:9000000000", "-o", "out",
    )  # fmt: skip
    _is_refused(result, r"needs \d+\.\d GB of memory, .*--hyperparams buffer_size:100000$")
    assert tree(own_folder) == {}


def test_help_shows_an_example() -> None:
    result = invoke("train", "--help")
    assert result.exit_code == 0
    assert re.search(r"Example: squeezerl train \S", " ".join(result.stdout.split()))
    for option in ("--qat", "--resume", "--init", "--hyperparams"):
        assert option in result.stdout


def test_no_arguments_show_the_help() -> None:
    assert "Usage" in invoke("train").output


def test_json_is_one_object_and_no_noise(own_folder: Path) -> None:
    result = run("train", *PPO, "--steps", "512", "--qat", "int8", "-o", "out", "--json")
    assert result.returncode == 0, result.stderr
    data = the_object(result.stdout)
    assert data.keys() == KEYS
    assert lost_keys("train", data) == set()
    assert (data["algorithm"], data["env_id"], data["seed"]) == ("ppo", "CartPole-v1", 0)
    assert (data["steps"], data["new_steps"], data["complete"]) == (512, 512, True)
    assert data["evaluation"]["episodes"] == 2
    assert data["evaluation"]["mean_return"] <= data["best_return"]
    assert read_artifact(own_folder / data["artifact"]).manifest.source.algorithm == "ppo"
    assert result.stderr == ""
    assert [path.name for path in own_folder.iterdir()] == ["out"]


def test_what_was_trained_can_be_inspected_evaluated_and_compared(own_folder: Path) -> None:
    result = invoke("train", *PPO, "--steps", "512", "--qat", "int8", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert "512" in result.stdout
    assert the_object(invoke("inspect", "out", "--json").stdout)["algorithm"] == "ppo"
    data = the_object(invoke("evaluate", "out/int8", "--episodes", "2", "--json").stdout)
    assert data["env_id"] == "CartPole-v1"
    assert data["episodes"] == 2


def test_the_naive_way_and_kept_layers_reach_the_artifact(own_folder: Path) -> None:
    result = invoke(
        "train", *PPO, "--steps", "512", "--qat", "int8", "--qat-naive", "--qat-keep", "layer2",
        "--qat-critic", "-o", "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    manifest = read_artifact("out/int8").manifest
    (spec,) = manifest.specs
    assert (spec["per_channel"], spec["per_feature"], spec["keep"]) == (False, False, ["layer2"])
    assert [layer.weight_dtype for layer in manifest.layers] == ["int8", "int8", "float32"]


def test_the_environment_is_that_of_the_agent_to_start_from(own_folder: Path) -> None:
    small = ("--steps", "64", *PPO[2:])
    assert invoke("train", *PPO, "--steps", "64", "-o", "first").exit_code == 0
    result = invoke("train", "ppo", "--init", "first", *small, "-o", "second", "--json")
    assert result.exit_code == 0, result.stderr
    assert the_object(result.stdout)["env_id"] == "CartPole-v1"


def test_a_training_is_not_overwritten_and_the_message_names_the_option(own_folder: Path) -> None:
    assert invoke("train", *PPO, "--steps", "64", "-o", "out").exit_code == 0
    before = tree(own_folder)
    result = invoke("train", *PPO, "--steps", "64", "-o", "out")
    _is_refused(result, "holds a training already; --resume goes on with it")
    assert tree(own_folder) == before
