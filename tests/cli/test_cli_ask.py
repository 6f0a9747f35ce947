from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import invoke

from promised_keys import lost_keys
from squeezerl.errors import SqueezeRLError

DEMO = Path(__file__).parents[2] / "results" / "demo"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_figure_comes_before_the_passages() -> None:
    done = invoke(
        "ask", "Which method is smallest at 95 %?", "--study", DEMO, "--embeddings", "none"
    )
    assert done.exit_code == 0, done.output
    table, _, passages = done.stdout.partition("[1]")
    stored = json.loads((DEMO / "results.json").read_text(encoding="utf-8"))
    assert f"{stored['chosen']['weight_bytes']:,}" in table
    assert "-- docs/" in passages


def test_json_has_the_promised_keys(capfd: pytest.CaptureFixture[str]) -> None:
    done = invoke("ask", "What is PTDQ?", "--embeddings", "none", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert lost_keys("ask", found) == set()
    assert found["answer"] is None
    assert any(
        passage["id"] in ("paper:ptdq", "method:int8:dynamic") for passage in found["passages"]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--chat --json",
        "What? --study nowhere",
        "What? --add nothing.pdf",
        "What? --llm gpt",
        "What? --plots p",
        "What? --embeddings word2vec",
        "' '",
    ],
)
def test_bad_input_is_refused(arguments: str, own_folder: Path) -> None:
    import shlex

    done = invoke("ask", *shlex.split(arguments))
    assert done.exit_code == 2
    assert not isinstance(done.exception, SqueezeRLError)
    assert list(own_folder.iterdir()) == []
