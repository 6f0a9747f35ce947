from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from example_files import run
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_gif_shows_the_video_with_sizes_above_it(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for name in ("replay.mp4", "results.json"):
        shutil.copy(ROOT / "results" / "demo" / name, tmp_path)
    run(tmp_path, sys.executable, ROOT / "scripts" / "replay_gif.py", tmp_path)
    with Image.open(tmp_path / "replay.gif") as made:
        assert made.n_frames > 90
        assert made.info["duration"] == 100
        first = np.asarray(made.convert("L"), float)
        made.seek(made.n_frames - 1)
        last = np.asarray(made.convert("L"), float)
    assert np.abs(last - first).mean() > 5
    above = slice(0, 20)
    np.testing.assert_allclose(first[above], last[above], atol=8)  # the sizes stay
    assert first[above].max() > 200  # and can be read
