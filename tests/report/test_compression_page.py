from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_the_figures_that_were_measured() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "compression_page.py"))
    text = script["PAGE"].read_text(encoding="utf-8")
    data = json.loads(script["FIGURES"].read_text(encoding="utf-8"))
    returns = json.loads(script["RETURNS"].read_text(encoding="utf-8"))
    assert script["page"](text, data, returns) == text
    assert data["results"]
    for result in data["results"]:
        assert f" {result['cortex_m4']['int8']['flash_bytes']:,}; " in text
