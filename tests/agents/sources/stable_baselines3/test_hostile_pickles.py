from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import (
    Payload,
    change_members,
    change_metadata,
    nothing_written,
    refuses,
    saved_vecnormalize,
    torch_file,
)

from onnx_runner import torch_actions
from squeezerl import load_agent


def test_payload_is_live(marker: Path) -> None:
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.is_dir()


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_in_the_weights_is_refused(
    folder: Path, checkpoint: Path, marker: Path, legacy: bool
) -> None:
    weights = torch_file({"action_net.weight": Payload(marker)}, legacy=legacy)
    change_members(checkpoint, policy=weights)
    refuses(folder, "nothing was executed")


def test_bare_pickle_as_weights_is_refused(folder: Path, checkpoint: Path, marker: Path) -> None:
    change_members(checkpoint, policy=pickle.dumps(Payload(marker)))
    refuses(folder, "nothing was executed")


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_as_normalizer_is_refused(
    folder: Path, vecnormalize: Path, marker: Path, protocol: int
) -> None:
    vecnormalize.write_bytes(pickle.dumps(Payload(marker), protocol))
    refuses(folder, "mkdir.*nothing was executed", file="vecnormalize.pkl")


def test_pickle_inside_a_normalizer_is_refused(
    folder: Path, vecnormalize: Path, marker: Path
) -> None:
    state = pickle.loads(vecnormalize.read_bytes()).__dict__
    saved = saved_vecnormalize(state | {"metadata": Payload(marker)})
    pickle.loads(saved)
    marker.rmdir()  # it worked: the payload is live in there, too

    vecnormalize.write_bytes(saved)
    refuses(folder, "mkdir.*nothing was executed", file="vecnormalize.pkl")


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins exec",
        "builtins getattr",
        "builtins __import__",
        "numpy load",
        "numpy.core.multiarray fromfile",
        "stable_baselines3.common.vec_env.vec_normalize VecNormalize.load",
        "stable_baselines3.common.vec_env.vec_normalize pickle.loads",
        "gym.spaces.box np.load",
    ],
)
def test_other_names_are_refused_in_a_normalizer(
    folder: Path, vecnormalize: Path, name: str
) -> None:
    module, attribute = name.split()
    text = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute))
    vecnormalize.write_bytes(b"\x80\x04" + text + b"\x93)R.")
    refuses(folder, f"{attribute}.*nothing was executed", file="vecnormalize.pkl")


def test_pickles_in_the_metadata_are_never_opened(
    folder: Path, checkpoint: Path, marker: Path
) -> None:
    observations = np.random.default_rng(0).normal(size=(50, 3))
    expected = torch_actions(load_agent(folder).network, observations)
    payload = base64.b64encode(pickle.dumps(Payload(marker))).decode()
    replaced = []

    def poison(data: dict[str, Any]) -> None:
        for name, value in data.items():
            if isinstance(value, dict) and ":serialized:" in value:
                value[":serialized:"] = payload
                replaced.append(name)

    change_metadata(checkpoint, poison)
    assert {"policy_class", "observation_space", "action_space"} < set(replaced)
    with nothing_written(folder.parent):
        network = load_agent(folder).network
    np.testing.assert_array_equal(torch_actions(network, observations), expected)


def test_call_as_settings_is_refused(folder: Path, config: Path, marker: Path) -> None:
    config.write_text(f'!!python/object/apply:os.system ["mkdir {marker}"]\n')
    refuses(folder, "does not hold settings", file="config.yml")


@pytest.mark.parametrize("key", ["normalize", "policy", "env"])
def test_call_inside_the_settings_is_not_made(
    folder: Path, config: Path, marker: Path, key: str
) -> None:
    config.write_text(f'{key}: !!python/object/apply:os.system ["mkdir {marker}"]\n')
    with nothing_written(folder.parent):
        load_agent(folder)


def test_expression_in_the_settings_is_not_evaluated(
    folder: Path, config: Path, marker: Path
) -> None:
    config.write_text(f"normalize: dict(norm_obs=__import__('os').mkdir('{marker}'))\n")
    with nothing_written(folder.parent):
        load_agent(folder)
