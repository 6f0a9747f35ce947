from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from example_files import EXAMPLES, code_blocks, run, squeezerl

pytestmark = pytest.mark.slow

DOCS = EXAMPLES.parent / "docs"


@pytest.mark.parametrize("page", ["api.md", "recipes.md", "artifacts.md"])
def test_the_examples_of_a_page_run_one_after_the_other(page: str, tmp_path: Path) -> None:
    blocks = code_blocks(DOCS / page, "python")
    assert blocks
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    run(tmp_path, sys.executable, script)


def test_the_tutorial_of_the_engineer_leads_to_a_policy_that_acts(tmp_path: Path) -> None:
    lines = "".join(code_blocks(DOCS / "tutorial-engineer.md")).splitlines()
    for verb in ("compress", "export"):
        (line,) = (line for line in lines if line.startswith(f"squeezerl {verb} "))
        squeezerl(tmp_path, *line.split()[1:])
    assert (tmp_path / "cheetah" / "cheetah.c").is_file()
    (deploy,) = code_blocks(DOCS / "tutorial-engineer.md", "python")
    script = tmp_path / "deploy.py"
    script.write_text(deploy + "assert action.shape == (1, 6)\n", encoding="utf-8")
    run(tmp_path, sys.executable, script)


def test_the_study_of_the_tutorial_is_one(tmp_path: Path) -> None:
    (text,) = code_blocks(DOCS / "tutorial-researcher.md", "yaml")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    forecast = json.loads(squeezerl(tmp_path, "study", "run", "mine.yaml", "--dry-run", "--json"))
    jobs = {kind["kind"]: kind["jobs"] for kind in forecast["kinds"]}
    assert jobs == {"compress": 6, "evaluate": 8}
