"""Folders like those of Linux under /sys/class."""

from __future__ import annotations

from pathlib import Path

# The range of a Skylake package's counter, and of a server's DRAM, as Linux shows them.
RANGE_UJ = 262_143_328_850
DRAM_RANGE_UJ = 65_712_999_613


def add_zone(
    root: Path, zone: str, name: str, energy_uj: int = 0, range_uj: int = RANGE_UJ
) -> Path:
    """A powercap zone. Linux lists the zones flat, whatever contains what."""
    folder = root / zone
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    set_uj(folder, energy_uj)
    return folder


def set_uj(zone: Path, energy_uj: int) -> None:
    (zone / "energy_uj").write_text(f"{energy_uj}\n")


def add_supply(root: Path, name: str, kind: str, **words: str | int) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    set_words(folder, type=kind, **words)
    return folder


def set_words(folder: Path, **words: str | int) -> None:
    for file, word in words.items():
        (folder / file).write_text(f"{word}\n")
