from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command import invoke, the_object, tree

pytestmark = pytest.mark.slow


def test_a_program_is_written_and_passes_its_test() -> None:
    result = invoke("export", "demo", "--name", "walker", "-o", "walker", "--json")
    facts = the_object(result.stdout)
    assert facts["name"] == "walker"
    assert facts["constant_bytes"] > 4 * (17 * 128 + 128 * 128 + 128 * 6)
    assert {*facts["files"], "program.json"} == {*tree(Path("walker"))}
    files = ["walker/walker.c", "walker/walker_test.c"]
    subprocess.run(["cc", *files, "-o", "walker_test"], check=True)
    assert subprocess.run(["./walker_test"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "../x"), "begin with a letter"),
        (("--to", "rust"), "known is c"),
        (("--target", "z80"), "known are portable, native"),
        (("--observations", "none.npy"), "cannot be read"),
    ],
)
def test_bad_input_leaves_nothing(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("export", "demo", "-o", "walker", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not Path("walker").exists()


def test_another_folder_is_not_replaced() -> None:
    Path("walker").mkdir()
    Path("walker/mine").write_text("keep", encoding="utf-8")
    for force in ((), ("--force",)):
        assert invoke("export", "demo", "-o", "walker", *force).exit_code == 2
    assert [*tree(Path("walker"))] == ["mine"]
