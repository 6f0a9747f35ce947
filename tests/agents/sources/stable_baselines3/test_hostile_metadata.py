from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checkpoint_files import change_members, change_metadata, refuses

from squeezerl import load_agent

TEXT_ALONE = {":serialized:": None}
DISCRETE = {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"policy_class": None}, "policy class", id="no-policy-class"),
        pytest.param({"action_space": None}, "action space", id="no-action-space"),
        pytest.param({"action_space": DISCRETE}, "size", id="no-size"),
        pytest.param({"action_space": DISCRETE | {"n": "0"}}, "size", id="zero-size"),
        pytest.param({"action_space": DISCRETE | {"n": "²"}}, "size", id="superscript"),
        pytest.param({"action_space": DISCRETE | {"n": "9" * 5000}}, "size", id="endless-size"),
        pytest.param({"action_space": DISCRETE | {"n": "3"}}, "needs 3", id="other-size"),
        pytest.param(
            {"use_sde": True, "policy_kwargs": {"clip_mean": "2"}}, "clip_mean", id="clip-mean"
        ),
    ],
)
def test_wrong_metadata_is_refused(
    folder: Path, checkpoint: Path, changes: dict[str, Any], reason: str
) -> None:
    change_metadata(checkpoint, lambda data: data.update(changes))
    refuses(folder, reason)


@pytest.mark.parametrize(
    ("space", "changes"),
    [
        pytest.param("observation_space", {"_shape": None}, id="no-shape"),
        pytest.param("observation_space", {"_shape": [0]}, id="empty-observation"),
        pytest.param("observation_space", {"_shape": [3.0]}, id="fractional-shape"),
        pytest.param("observation_space", {"_shape": "[3]"}, id="shape-as-text"),
        pytest.param("observation_space", {"_shape": [10**9, 10**9]}, id="giant-observation"),
        pytest.param("action_space", {"low": None}, id="no-bounds"),
        pytest.param("action_space", {"low": "[-1. -1.]"}, id="too-many-bounds"),
        pytest.param("action_space", {"low": "[a]"}, id="no-numbers"),
        pytest.param("action_space", {"low": "[nan]"}, id="nan-bound"),
        pytest.param("action_space", {"low": "[5.]", "high": "[-5.]"}, id="bounds-crossed"),
    ],
)
def test_wrong_spaces_are_refused(
    folder: Path, checkpoint: Path, space: str, changes: dict[str, Any]
) -> None:
    change_metadata(checkpoint, lambda data: data[space].update(changes | TEXT_ALONE))
    refuses(folder, f"{space.removesuffix('_space')} space")


def test_squashed_actions_need_finite_bounds(folder: Path, checkpoint: Path) -> None:
    def squash(data: dict[str, Any]) -> None:
        data["use_sde"] = True
        data["policy_kwargs"]["squash_output"] = True
        data["action_space"] |= {"high": "[inf]"} | TEXT_ALONE

    change_metadata(checkpoint, squash)
    refuses(folder, "finite bounds")


def test_clipped_actions_may_be_unbounded(folder: Path, checkpoint: Path) -> None:
    change = {"high": "[inf]"} | TEXT_ALONE
    change_metadata(checkpoint, lambda data: data["action_space"].update(change))
    assert load_agent(folder).network.head.high.tolist() == [float("inf")]


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b"1" * 10_000],
    ids=["empty", "list", "no-entries", "text", "no-utf8", "nested", "long-number"],
)
def test_metadata_that_is_no_json_object_is_refused(
    folder: Path, checkpoint: Path, data: bytes
) -> None:
    change_members(checkpoint, data=data)
    refuses(folder, "metadata")
