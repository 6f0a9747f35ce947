"""README, docs/ and the site of `make docs`: links lead somewhere, code blocks hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from example_files import FENCED, code_blocks

import squeezerl
from squeezerl.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]  # fmt: skip
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_compiles_and_yaml_is_read(page: Path) -> None:
    for code in code_blocks(page, "python"):
        compile(code, str(page), "exec")
    for text in code_blocks(page, "yaml"):
        assert yaml.safe_load(text) is not None


def commands(page: Path) -> Iterator[str]:
    """Each use of `squeezerl` on a page: lines of blocks, and code in sentences."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(code_blocks(page)).replace("\\\n", " ").splitlines()
    inline = re.findall(r"(?<!`)`(squeezerl [^`]+)`", FENCED.sub("", text))
    for line in (*lines, *(" ".join(one.split()) for one in inline)):
        for part in line.partition("  #")[0].split(" && "):
            if part.startswith("squeezerl "):
                yield part


@cache
def whole_command() -> Any:
    return typer.main.get_command(app)


def problem(line: str) -> str | None:
    """What the command would refuse, of the verbs and the options on a line."""
    command = whole_command()
    known: set[str] = {"--help"}
    words = iter(shlex.split(re.sub(r"[\[\]…]", " ", line))[1:])
    for word in words:
        known |= {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        if hasattr(command, "commands"):
            if word == "--plugin":
                next(words)
            elif not word.startswith("-"):
                if word not in command.commands:
                    return f"no command {word}"
                command = command.commands[word]
        elif re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known:
            return f"no option {word}"
    return None


def test_what_the_command_would_refuse_is_found() -> None:
    good = "squeezerl --plugin x.py study run STUDY.yaml [--workers 2]"
    assert problem(good) is None
    assert problem("squeezerl squash demo") == "no command squash"
    assert problem("squeezerl squeeze demo --retian=0.9 -o out") == "no option --retian=0.9"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_exist(page: Path) -> None:
    assert {line: found for line in commands(page) if (found := problem(line))} == {}


def test_make_has_the_targets_that_pages_name() -> None:
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", (ROOT / "Makefile").read_text(), re.M))
    have = {target for line in targets for target in line.split()}
    for page in PAGES:
        code = "\n".join([*code_blocks(page), *re.findall(r"`(make [^`]+)`", page.read_text())])
        for line in re.findall(r"^make ([\w -]+?)(?:  .*)?$", code, re.M):
            assert set(line.split()) <= have, name(page)


def test_the_first_screen_shows_the_results_of_the_demo() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    results = json.loads((ROOT / "results/demo/results.json").read_text(encoding="utf-8"))
    chosen, original = results["chosen"], results["baseline"]
    low, high = chosen["retention"]["normalized_ci95"]
    microseconds = [
        1e6 * chosen["native_profile"]["latency_s"]["median"],
        1e6 * original["profile"]["latency_s"]["median"],
    ]
    for text in (
        f"{original['weight_bytes'] / chosen['weight_bytes']:.0f} times smaller",
        f"{original['weight_bytes']:,} bytes → {chosen['weight_bytes']:,}",
        f"{chosen['retention']['normalized']:.1%}".replace("%", " %"),
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{chosen['retention']['episodes']} episodes",
        f"{microseconds[0]:.2f} µs",
        f"{microseconds[1]:.1f} µs",
        f"{results['budget_s'] / 60:.0f} minutes",
    ):
        assert text in first
    assert (ROOT / "results/demo/replay.gif").stat().st_size < 1_500_000


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == squeezerl.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.slow
def test_the_site_builds_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    functions = (tmp_path / "reference" / "functions.html").read_text(encoding="utf-8")
    for public in ("compress", "evaluate", "squeeze", "load_actor"):
        assert f'id="squeezerl.api.{public}"' in functions
    assert (tmp_path / "results" / "demo" / "replay.gif").is_file()
