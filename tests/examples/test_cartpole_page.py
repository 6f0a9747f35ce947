from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/cartpole.html"


@pytest.mark.slow
def test_the_pole_stays_up_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    run = subprocess.run(
        [browser, *flags, "--virtual-time-budget=2000", "--dump-dom", PAGE.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'data-first="500 steps without a fall"' in run.stdout, run.stderr


def test_the_page_loads_nothing() -> None:
    content = PAGE.read_text(encoding="utf-8")
    for word in ("http:", "https:", "src=", "href=", "fetch(", "import("):
        assert word not in content
