from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_files import (
    change_members,
    peak_bytes,
    read_members,
    rebuilt_zip,
    refuses,
    torch_file,
    write_members,
)

from squeezerl import load_agent
from squeezerl.errors import CheckpointError


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_zip_is_refused(folder: Path, checkpoint: Path, kept: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(kept * len(content))])
    refuses(folder, "cut short")


def test_random_bytes_named_zip_are_refused(folder: Path, checkpoint: Path) -> None:
    checkpoint.write_bytes(np.random.default_rng(0).bytes(10_000))
    refuses(folder, "not a readable zip")


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_zip_bomb_is_refused_before_it_is_unpacked(
    folder: Path, checkpoint: Path, name: str
) -> None:
    size = 40 * 2**20
    members = read_members(checkpoint) | {name: bytes(size)}
    write_members(checkpoint, members, zipfile.ZIP_DEFLATED)
    assert checkpoint.stat().st_size < size / 100
    assert peak_bytes(lambda: refuses(folder, f"'{name}' .*zip bomb")) < size / 4


def test_zip_bomb_inside_the_weights_is_refused(folder: Path, checkpoint: Path) -> None:
    size = 2**20
    weights = torch_file({"action_net.weight": torch.zeros(size // 4)})
    deflated = rebuilt_zip(weights, zipfile.ZIP_DEFLATED)
    assert len(deflated) < size / 100
    change_members(checkpoint, policy=deflated)
    refuses(folder, "'policy.pth' .*zip bomb")


def test_storage_that_claims_more_than_its_record_is_refused(
    folder: Path, checkpoint: Path
) -> None:
    size, larger = b"M" + struct.pack("<H", 1000), b"J" + struct.pack("<i", 100_000)
    weights = torch_file({"action_net.weight": torch.zeros(1000)})
    enlarged = rebuilt_zip(weights, change=lambda _, member: member.replace(size, larger))
    assert enlarged != rebuilt_zip(weights)
    change_members(checkpoint, policy=enlarged)
    refuses(folder, "size")


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damaged_member_is_refused(folder: Path, checkpoint: Path, compression: int) -> None:
    write_members(checkpoint, read_members(checkpoint), compression)
    with zipfile.ZipFile(checkpoint) as archive:
        info = archive.getinfo("policy.pth")
    content = bytearray(checkpoint.read_bytes())
    start = info.header_offset + 30 + len(info.filename) + 20
    content[start : start + 40] = bytes(byte ^ 0x5A for byte in content[start : start + 40])
    checkpoint.write_bytes(content)
    refuses(folder, "'policy.pth' is damaged")


def test_weights_that_claim_to_span_several_disks_are_refused(
    folder: Path, checkpoint: Path
) -> None:
    weights = bytearray(read_members(checkpoint)["policy.pth"])
    locator = weights.rindex(b"PK\x06\x07")  # torch writes the 64-bit form of zip
    weights[locator + 4] ^= 1
    change_members(checkpoint, policy=bytes(weights))
    refuses(folder, "'policy.pth' is damaged.*multiple disks")


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_missing_member_is_refused(folder: Path, checkpoint: Path, name: str) -> None:
    members = read_members(checkpoint)
    del members[name]
    write_members(checkpoint, members)
    refuses(folder, f"holds no '{name}'")


def test_encrypted_member_is_refused(folder: Path, checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        content[archive.getinfo("data").header_offset + 6] |= 1
        directory = archive.start_dir
    content[directory + 8] |= 1  # the flags of the first entry, `data`
    checkpoint.write_bytes(content)
    refuses(folder, "'data' is damaged.*encrypted")


def test_checkpoint_is_named_in_errors_when_its_path_is_relative(
    folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_members(checkpoint, policy=b"junk")
    monkeypatch.chdir(folder)
    with pytest.raises(CheckpointError) as caught:
        load_agent(checkpoint.name)
    assert str(caught.value).count(checkpoint.name) == 1
