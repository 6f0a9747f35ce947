from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squeezerl.agents.load import demo_agent_path
from squeezerl.agents.torch_file import checked, read_state_dict
from squeezerl.errors import CheckpointError


def _saved(content: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _reads_like_torch(content: bytes) -> None:
    expected = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = read_state_dict(content, "policy.pth")
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        values = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert state[name].dtype.newbyteorder("=") == values.numpy().dtype
        assert state[name].shape == values.shape
        assert np.ascontiguousarray(state[name]).tobytes() == values.numpy().tobytes()


def _policy(folder: Path) -> bytes:
    (checkpoint,) = folder.glob("*.zip")
    with zipfile.ZipFile(checkpoint) as archive:
        return archive.read("policy.pth")


def test_published_agents_are_read_like_torch_does(published_agent: Path) -> None:
    _reads_like_torch(_policy(published_agent))


def test_demo_is_read_like_torch_does() -> None:
    _reads_like_torch(_policy(demo_agent_path()))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, torch.float64, torch.bfloat16, torch.int64, torch.bool],
    ids=str,
)
def test_every_type_of_number_is_read(dtype: torch.dtype, legacy: bool) -> None:
    weights = {"a.weight": torch.arange(-3, 3).reshape(2, 3).to(dtype), "b": torch.ones(0, 4)}
    _reads_like_torch(_saved(weights, legacy=legacy))


def test_views_and_shared_storages_are_read() -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    _reads_like_torch(
        _saved({"whole": whole, "turned": whole.T, "part": whole[1:3, ::2], "one": whole[3, 5]})
    )


def test_tensors_of_a_big_endian_machine_are_read() -> None:
    little = _saved({"a": torch.arange(4.0)})
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(little)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("byteorder"):
                content = b"big"
            if name.endswith("data/0"):
                content = np.arange(4, dtype=">f4").tobytes()
            archive.writestr(name, content)
    state = read_state_dict(target.getvalue(), "policy.pth")
    np.testing.assert_array_equal(checked(state, "a"), np.arange(4, dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "nothing was executed", id="empty"),
        pytest.param({"a": torch.zeros(2).conj_physical().to(torch.complex64).conj()}, "view",
                     id="conjugate"),
        pytest.param({"a": torch.zeros(1).expand(9)}, "holds less data", id="expanded"),
        pytest.param({"a": torch.nn.Parameter(torch.zeros(1))}, "_rebuild_parameter", id="other"),
        pytest.param({"a": torch.zeros(3, dtype=torch.uint16)}, "asks for|refused", id="new-type"),
        pytest.param({1: torch.zeros(1)}, "mapping of names", id="number-as-name"),
        pytest.param({"a": {"b": torch.zeros(1)}}, "mapping of names", id="nested"),
    ],
)  # fmt: skip
def test_other_content_is_refused(content: Any, reason: str) -> None:
    saved = content if isinstance(content, bytes) else _saved(content)
    with pytest.raises(CheckpointError, match=reason):
        read_state_dict(saved, "policy.pth")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"K\x02K\x03\x86", b"K\x03K\x03\x86", id="larger-shape"),
        pytest.param(b"K\x03K\x01\x86", b"K\x04K\x01\x86", id="larger-stride"),
        pytest.param(b"QK\x00K\x02", b"QK\x01K\x02", id="offset"),
        pytest.param(b"K\x02K\x03\x86", b"K\x02K\x03\x87", id="tuple-of-other-length"),
    ],
)
def test_tensors_that_reach_beyond_their_storage_are_refused(before: bytes, after: bytes) -> None:
    saved = _saved({"a": torch.arange(6.0).reshape(2, 3)})
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                assert before in content
                content = content.replace(before, after)
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="nothing was executed"):
        read_state_dict(target.getvalue(), "policy.pth")


def test_tensors_are_read_only() -> None:
    state = read_state_dict(_saved({"a": torch.zeros(3)}), "policy.pth")
    with pytest.raises(ValueError, match="read-only"):
        state["a"][0] = 1.0
