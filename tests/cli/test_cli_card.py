from __future__ import annotations

from pathlib import Path

import pytest
from command import invoke

pytestmark = pytest.mark.slow


def test_a_card_of_an_artifact_and_what_would_go_to_the_hub() -> None:
    assert invoke("compress", "demo", "--method", "ptdq", "-o", "out").exit_code == 0
    refused = invoke("push", "out", "--repo", "me/cheetah", "--dry-run")
    assert refused.exit_code == 2
    assert "squeezerl card" in " ".join(refused.stderr.split())
    made = invoke("card", "out", "--episodes", "2")
    assert made.exit_code == 0
    assert "type: mean_reward" in Path("out/README.md").read_text(encoding="utf-8")
    assert invoke("card", "out").exit_code == 2
    shown = invoke("push", "out", "--repo", "me/cheetah", "--dry-run")
    assert shown.exit_code == 0
    for name in ("README.md", "policy.onnx", "manifest.json", "3 files"):
        assert name in shown.stdout
