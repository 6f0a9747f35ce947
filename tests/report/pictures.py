"""What a picture of a report must be."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def is_whole(folder: Path, name: str) -> None:
    """Check that a picture is there as PNG and SVG, with something in it and without a date."""
    with Image.open(folder / f"{name}.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").reduce(4).getcolors(1 << 20) or []) > 10
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "<dc:date>" not in text
