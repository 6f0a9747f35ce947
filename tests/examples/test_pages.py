from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from example_files import EXAMPLES, run

pytestmark = pytest.mark.slow

DOCS = EXAMPLES.parent / "docs"


@pytest.mark.parametrize("page", ["api.md", "recipes.md", "artifacts.md"])
def test_the_examples_of_a_page_run_one_after_the_other(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    assert blocks
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    run(tmp_path, sys.executable, script)
