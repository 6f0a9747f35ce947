from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import (
    PATIENCE_S,
    PPO,
    checkpoint_in,
    go_on,
    start_command,
    stop_after,
    train,
    wait_for,
)

from squeezerl import load_agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import OutputError

pytestmark = pytest.mark.slow

SMALL = (
    "--env-kwargs", "max_episode_steps:20", "--eval-episodes", "1", "--device", "cpu",
    "--hyperparams", "net_arch:[8]", "-o", "out", "--json",
)  # fmt: skip
SAC = (
    "sac", "Pendulum-v1", "--steps", "1200", "--evaluations", "10", "--qat", "int8",
    "--checkpoint-seconds", "0.1", "--hyperparams", "batch_size:8",
    "--hyperparams", "train_freq:4", *SMALL,
)  # fmt: skip


def _names(output: Path) -> set[str]:
    return {path.name for path in (output / "checkpoints").glob("[0-9]*")}


def _is_in_order(output: Path) -> None:
    """Whatever is visible is whole."""
    checkpoint_in(output)
    for path in (output / "checkpoints").glob("[0-9]*"):
        state = torch.load(path / "model.pt", weights_only=True)
        assert f"{state['counters']['num_timesteps']:012d}" == path.name
        with np.load(path / "arrays.npz", allow_pickle=False) as file:
            assert len(file["replay.rewards"]) == state["counters"]["num_timesteps"]
        assert json.loads((path / "training.json").read_text())["notes"].keys() >= {"steps", "best"}
    if (output / "evaluations.npz").exists():
        with np.load(output / "evaluations.npz") as file:
            assert len(file["timesteps"]) == len(file["results"])
    if (output / "best_model.zip").exists():
        load_agent(output / "best_model.zip")


def _hidden(output: Path) -> list[str]:
    return [str(path.relative_to(output)) for path in output.rglob(".*")]


def test_a_training_that_is_killed_again_and_again_comes_to_its_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    rng = random.Random(0)
    kills = 0
    for attempt in range(2):
        process = start_command(tmp_path, *SAC, *(["--resume"] if attempt else []))
        try:
            before = _names(output)
            if wait_for(process, lambda before=before: _names(output) - before):
                time.sleep(rng.uniform(0, 0.4))
                process.kill()
                kills += process.wait() == -signal.SIGKILL
        finally:
            process.kill()
            process.communicate()
        if (output / "Pendulum-v1.zip").exists():
            break
        _is_in_order(output)
    assert kills >= 1
    data = go_on(tmp_path, *SAC)
    assert data["complete"]
    assert (output / "Pendulum-v1.zip").is_file()
    load_agent(output)
    read_artifact(output / "int8")
    assert not (output / "checkpoints").exists()
    assert _hidden(output) == []
    with np.load(output / "evaluations.npz") as file:
        steps = file["timesteps"].tolist()
    assert steps == sorted(set(steps))
    assert steps[-1] == 1200


def test_a_kill_between_the_agent_and_its_artifact_is_made_good(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start_command(tmp_path, *SAC)
    try:
        assert wait_for(process, (output / "Pendulum-v1.zip").exists)
        process.kill()
    finally:
        process.kill()
        process.communicate()
    data = go_on(tmp_path, *SAC)
    assert data["steps"] == 1200
    assert data["artifact"] is not None
    read_artifact(output / "int8")
    assert not (output / "checkpoints").exists()


@pytest.mark.parametrize(
    "name", [".best_model.zip.new-0123abcd", "checkpoints/.000000000064.new-0"]
)
def test_leftovers_of_a_kill_are_gone_at_the_end(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    train(PPO, output, should_stop=stop_after(2))
    (output / name).write_text("half of it")
    train(PPO, output, resume=True)
    assert _hidden(output) == []


def test_a_kill_while_the_checkpoints_are_removed_is_made_good(tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = train(PPO, output)
    # The folder is renamed before it loses file by file.
    assert not (output / "checkpoints").exists()
    (output / ".checkpoints.old-0123abcd" / "000000000128").mkdir(parents=True)
    result = train(PPO, output, resume=True)
    assert (result.complete, result.steps) == (True, 256)
    assert result.best_return == before.best_return
    assert _hidden(output) == []


def test_a_training_refuses_another_and_ctrl_c_leaves_a_checkpoint_from_which_it_goes_on(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    process = start_command(tmp_path, *SAC)
    try:
        assert wait_for(process, lambda: _names(output))
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(OutputError, match="another process is training in it"):
            train(PPO, output, resume=True)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "stopping: writing a checkpoint" in stderr
    assert "Traceback" not in stderr
    data = json.loads(stdout)
    assert not data["complete"]
    assert _names(output) == {f"{data['steps']:012d}"}
    _is_in_order(output)
    assert _hidden(output) == []
    with pytest.raises(OutputError, match="not a training of CartPole-v1"):  # free, but not ours
        train(PPO, output, resume=True)
    finished = go_on(tmp_path, *SAC)
    assert finished["complete"]
    assert (finished["steps"], finished["new_steps"]) == (1200, 1200 - data["steps"])
