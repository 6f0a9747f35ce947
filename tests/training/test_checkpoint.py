from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from trainings import checkpoint_in, make_sb3, plain

from squeezerl.errors import CheckpointError
from squeezerl.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
    remove_checkpoints,
    restore,
    save_checkpoint,
)

ALGORITHMS = ("ppo", "a2c", "trpo", "sac", "tqc", "td3", "ddpg", "dqn", "qrdqn")
NOTES = {"steps": [10], "returns": [[1.5]], "lengths": [[7]], "best": 0}
REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _make(name: str, *, seed: int = 0, buffer_size: int = 200, **settings: Any) -> Any:
    if name in ("ppo", "a2c", "trpo"):
        settings |= {"n_steps": 20} if name == "a2c" else {"n_steps": 20, "batch_size": 20}
    else:
        settings |= {
            "buffer_size": buffer_size, "learning_starts": 10, "batch_size": 8,
            "train_freq": 10, "gradient_steps": 2,
        }  # fmt: skip
    networks = {"net_arch": [8]}
    return make_sb3(name, normalized=True, n_envs=2, seed=seed, policy_kwargs=networks, **settings)


def _save(model: Any, output: Path, **more: Any) -> Checkpoint:
    given = {"notes": NOTES, "qat": None} | more
    save_checkpoint(output, model, **given)
    return checkpoint_in(output)


def _state(model: Any) -> dict[str, Any]:
    """All that a training goes on with, looked up where Stable-Baselines3 keeps it."""
    env = model.get_vec_normalize_env()
    state = {
        "parameters": model.get_parameters(),
        "counters": [model.num_timesteps, model._n_updates, model._episode_num],
        "normalizer": [
            [getattr(moments, name) for name in ("mean", "var", "count")]
            for moments in (env.obs_rms, env.ret_rms)
        ],
    }
    if (entropy := getattr(model, "log_ent_coef", None)) is not None:
        state["entropy"] = entropy.detach()
    if (buffer := getattr(model, "replay_buffer", None)) is not None:
        state["replay"] = {name: getattr(buffer, name)[: buffer.size()] for name in REPLAY}
        state["place"] = [buffer.pos, buffer.full]
    return plain(state)


@pytest.fixture(scope="module")
def sac_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sac")
    _save(_make("sac").learn(60), output)
    return output


@pytest.fixture
def spoiled(sac_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return shutil.copytree(sac_checkpoint, tmp_path / "copy")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_new_model_gets_all_that_the_old_one_had(name: str, tmp_path: Path) -> None:
    model = _make(name).learn(60)
    checkpoint = _save(model, tmp_path, qat={"enabled": True})
    other = _make(name, seed=1)
    assert _state(other) != _state(model)
    assert restore(checkpoint, other) == {"enabled": True}
    assert _state(other) == _state(model)
    assert checkpoint.notes == NOTES


@pytest.mark.parametrize("name", ["sac", "ppo", "dqn"])
def test_it_learns_on_from_there(name: str, tmp_path: Path) -> None:
    checkpoint = _save(_make(name).learn(60), tmp_path)
    other = _make(name, seed=1)
    restore(checkpoint, other)
    before = _state(other)
    other.learn(40, reset_num_timesteps=False)
    after = _state(other)
    assert after["counters"][0] == before["counters"][0] + 40
    assert after["counters"][1] > before["counters"][1]
    assert after["parameters"] != before["parameters"]
    (count,) = {moments[2] for moments in after["normalizer"][:1]}
    assert count > before["normalizer"][0][2] + 39


@pytest.mark.parametrize("steps", [40, 60, 100])
def test_a_replay_buffer_that_went_round_goes_on_at_its_place(steps: int, tmp_path: Path) -> None:
    model = _make("sac", buffer_size=80).learn(steps)  # two environments: 40 places
    checkpoint = _save(model, tmp_path)
    other = _make("sac", buffer_size=80, seed=1)
    restore(checkpoint, other)
    assert _state(other) == _state(model)
    assert other.replay_buffer.full == (steps >= 80)


def test_a_fixed_entropy_coefficient_is_kept(tmp_path: Path) -> None:
    model = _make("sac", ent_coef=0.3).learn(40)
    other = _make("sac", ent_coef=0.3, seed=1)
    restore(_save(model, tmp_path), other)
    assert other.ent_coef_tensor.item() == pytest.approx(0.3)
    assert _state(other) == _state(model)


def test_the_latest_one_stays_alone(tmp_path: Path) -> None:
    model = _make("sac").learn(40)
    first = _save(model, tmp_path)
    model.learn(20, reset_num_timesteps=False)
    second = _save(model, tmp_path)
    assert second.path != first.path
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [second.path.name]


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "checkpoints").mkdir()
    assert find_checkpoint(tmp_path) is None


def test_what_a_kill_left_unfinished_is_no_checkpoint(spoiled: Path) -> None:
    found = find_checkpoint(spoiled)
    assert found is not None
    (spoiled / "checkpoints" / ".000000009999.new-0123abcd").mkdir()
    again = find_checkpoint(spoiled)
    assert again is not None
    assert again.path == found.path
    remove_checkpoints(spoiled)
    assert list(spoiled.iterdir()) == []


def _of(output: Path, name: str) -> Path:
    (folder,) = (output / "checkpoints").iterdir()
    return folder / name


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


class _Hostile:
    """Executed, it would make the folder `executed`."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def _hostile_torch(path: Path) -> None:
    torch.save({"parameters": _Hostile()}, path)


def _hostile_array(path: Path) -> None:
    array = np.empty(1, dtype=object)
    array[0] = _Hostile()
    np.savez(path, **{"replay.rewards": array})


def _without_rewards(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "replay.rewards"}
    np.savez(path, **arrays)


def _with_other_shapes(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["replay.observations"] = arrays["replay.observations"][:, :, :1].repeat(2, axis=2)
    np.savez(path, **arrays)


def _state_without(key: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        del state[key]
        torch.save(state, path)

    return change


SPOILERS: list[Any] = [
    ("model.pt", _truncate),
    ("model.pt", _empty),
    ("model.pt", Path.unlink),
    ("model.pt", _hostile_torch),
    ("arrays.npz", _truncate),
    ("arrays.npz", _empty),
    ("arrays.npz", Path.unlink),
    ("arrays.npz", _hostile_array),
    ("arrays.npz", _without_rewards),
    ("arrays.npz", _with_other_shapes),
    *(
        pytest.param("model.pt", _state_without(key), id=f"without-{key}")
        for key in ("parameters", "variables", "counters", "qat")
    ),
]


@pytest.mark.parametrize(("name", "spoil"), SPOILERS)
def test_a_damaged_or_hostile_checkpoint_is_refused_and_nothing_executed(
    name: str,
    spoil: Callable[[Path], None],
    spoiled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(_of(spoiled, name))
    checkpoint = find_checkpoint(spoiled)
    assert checkpoint is not None
    with pytest.raises(CheckpointError, match="damaged"):
        restore(checkpoint, _make("sac", seed=1))
    assert not (tmp_path / "executed").exists()


def test_the_hostile_pickles_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise the test above would show less than it says.
    monkeypatch.chdir(tmp_path)
    _hostile_torch(tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "executed").is_dir()
    (tmp_path / "executed").rmdir()
    _hostile_array(tmp_path / "arrays.npz")
    np.load(tmp_path / "arrays.npz", allow_pickle=True)["replay.rewards"]
    assert (tmp_path / "executed").is_dir()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": 9, "notes": {}}']
)
def test_a_damaged_description_is_refused(content: str, spoiled: Path) -> None:
    _of(spoiled, "training.json").write_text(content)
    with pytest.raises(CheckpointError, match="checkpoints"):
        find_checkpoint(spoiled)


def test_another_model_is_refused(sac_checkpoint: Path) -> None:
    checkpoint = find_checkpoint(sac_checkpoint)
    assert checkpoint is not None
    with pytest.raises(CheckpointError):
        restore(checkpoint, _make("td3"))


def test_what_is_written_holds_numbers_and_no_code(sac_checkpoint: Path) -> None:
    torch.load(_of(sac_checkpoint, "model.pt"), weights_only=True)
    with np.load(_of(sac_checkpoint, "arrays.npz"), allow_pickle=False) as file:
        arrays: list[npt.NDArray[Any]] = [file[name] for name in file.files]
    assert all(array.dtype.kind in "fiub" for array in arrays)
    assert zipfile.is_zipfile(io.BytesIO(_of(sac_checkpoint, "model.pt").read_bytes()))
    content = json.loads(_of(sac_checkpoint, "training.json").read_text())
    assert content["notes"] == NOTES
