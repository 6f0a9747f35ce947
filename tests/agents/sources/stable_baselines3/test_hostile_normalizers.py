from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_files import change_vecnormalize, peak_bytes, refuses

from squeezerl import load_agent
from squeezerl.errors import CheckpointError

PKL = "vecnormalize.pkl"
VECNORMALIZE = b"cstable_baselines3.common.vec_env.vec_normalize\nVecNormalize\n"


def test_missing_normalizer_is_noticed(folder: Path, vecnormalize: Path) -> None:
    vecnormalize.unlink()
    refuses(folder, "normalised observations, but no vecnormalize.pkl.*as `vecnormalize`")


def test_normalizer_of_another_agent_is_refused(folder: Path, vecnormalize: Path) -> None:
    change_vecnormalize(vecnormalize, mean=np.zeros(4), var=np.ones(4))
    refuses(folder, "normaliser has 4 features, the observation 3")


def test_normalizer_given_by_path_must_exist(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pkl: no such file"):
        load_agent(folder, vecnormalize=folder / "absent.pkl")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"var": np.ones(4)}, "do not fit", id="sizes-differ"),
        pytest.param({"var": np.array([1, np.nan, 1])}, "not finite", id="nan-variance"),
        pytest.param({"var": np.array([1, -1.0, 1])}, "negative", id="negative-variance"),
        pytest.param({"mean": np.array([0, np.inf, 0])}, "not finite", id="infinite-mean"),
        pytest.param({"mean": np.zeros(0), "var": np.zeros(0)}, "do not fit", id="empty"),
        pytest.param({"mean": np.array([None] * 3)}, "numbers", id="objects"),
        pytest.param({"mean": [0.0, 0.0, 0.0]}, "VecNormalize", id="list"),
        pytest.param({"obs_rms": None}, "VecNormalize", id="no-statistics"),
        pytest.param({"epsilon": np.nan}, "epsilon", id="nan-epsilon"),
        pytest.param({"epsilon": -1.0}, "epsilon", id="negative-epsilon"),
        pytest.param({"epsilon": 0.0, "var": np.zeros(3)}, "epsilon", id="division-by-zero"),
        pytest.param({"epsilon": 10**400}, "", id="huge-epsilon"),
        pytest.param({"epsilon": "tiny"}, "VecNormalize", id="epsilon-as-text"),
        pytest.param({"clip_obs": 0.0}, "clip_obs", id="no-range"),
        pytest.param({"clip_obs": np.nan}, "clip_obs", id="nan-range"),
        pytest.param({"clip_obs": None}, "VecNormalize", id="range-absent"),
        pytest.param({"epsilon": 0.0, "var": np.full(3, 1e-90)}, "", id="beyond-single-precision"),
    ],
)
def test_wrong_normalizer_is_refused(
    folder: Path, vecnormalize: Path, changes: dict[str, Any], reason: str
) -> None:
    change_vecnormalize(vecnormalize, **changes)
    refuses(folder, reason, file=PKL)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b".", id="stop"),
        pytest.param(b"N.", id="none"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", id="terabyte-string"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"N.", id="petabyte-frame"),
        pytest.param(VECNORMALIZE + b".", id="class"),
        pytest.param(VECNORMALIZE + b")R.", id="no-state"),
        pytest.param(VECNORMALIZE + b")R(I1\nI2\ntb.", id="tuple-state"),
        pytest.param(b"P1\n.", id="persistent-id"),
        pytest.param(b"\x82\x01.", id="extension"),
        pytest.param(pickle.dumps({"norm_obs": True}), id="mapping"),
    ],
)
def test_other_pickles_are_no_normalizer(folder: Path, vecnormalize: Path, content: bytes) -> None:
    vecnormalize.write_bytes(content)
    refuses(folder, "pickle|VecNormalize", file=PKL)


def test_oversized_normalizer_is_refused_unread(folder: Path, vecnormalize: Path) -> None:
    with vecnormalize.open("wb") as file:
        file.truncate(2**30)  # a sparse file
    assert peak_bytes(lambda: _refuses_as_too_large(folder)) < 2**20


def _refuses_as_too_large(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="larger than any"):
        load_agent(folder)


def test_small_pickle_cannot_claim_much_memory(folder: Path, vecnormalize: Path) -> None:
    # The C unpickler makes room for 2 ** 23 memo entries when it is told to fill entry 2 ** 22.
    vecnormalize.write_bytes(b"\x80\x04Nr" + struct.pack("<I", 2**22) + b".")
    assert peak_bytes(lambda: refuses(folder, "", file=PKL)) < 2**23


def test_bytearray_cannot_claim_much_memory(folder: Path, vecnormalize: Path) -> None:
    vecnormalize.write_bytes(b"\x80\x05\x96" + struct.pack("<Q", 2**32) + b".")
    assert peak_bytes(lambda: refuses(folder, "claims more bytes", file=PKL)) < 2**20


def test_deeply_nested_number_type_is_refused(folder: Path, vecnormalize: Path) -> None:
    def text(content: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(content)) + content

    dtype = b"cnumpy\ndtype\n(" + b"]" * 5000 + b"a" * 4999 + b"tR(K\x01" + text(b"<") + b"tb"
    number = b"cnumpy.core.multiarray\nscalar\n(" + dtype + text(b"") + b"tR"
    statistics = (
        b"cstable_baselines3.common.running_mean_std\nRunningMeanStd\n)R}("
        + b"".join(text(name) + number for name in (b"mean", b"var"))
        + b"ub"
    )
    state = b"}(" + text(b"norm_obs") + b"\x88" + text(b"obs_rms") + statistics + b"u"
    vecnormalize.write_bytes(VECNORMALIZE + b")R" + state + b"b.")
    refuses(folder, "numbers of another type", file=PKL)
