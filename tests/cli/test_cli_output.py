from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from command import COMMAND, environment, invoke, the_object, tree

from squeezerl import __version__, load_agent
from squeezerl.artifacts.artifact import read_artifact
from squeezerl.formats.onnx import to_onnx

pytestmark = pytest.mark.slow

VERBS = ["inspect", "compress", "evaluate", "squeeze", "profile", "doctor"]
SHORT = ("--env", "CartPole-v1", "--env-kwargs", "max_episode_steps:100", "--backend", "envpool")


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str) -> None:
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example: squeezerl {verb} \S", " ".join(result.stdout.split()))


def test_help_lists_the_verbs() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert verb in result.stdout


def test_no_arguments_show_the_help() -> None:
    assert "Usage" in invoke().output


def test_the_version_is_printed() -> None:
    assert invoke("--version").stdout == f"squeezerl {__version__}\n"


def test_inspect_shows_layers() -> None:
    stdout = invoke("inspect", "demo").stdout
    for fact in ("ppo", "HalfCheetah-v5", "(17,)", "layer0", "ReLU", "normaliser"):
        assert fact in stdout.replace("[17]", "(17,)")


def test_evaluate_shows_the_return(balancing_zip: Path) -> None:
    result = invoke("evaluate", balancing_zip, *SHORT, "--episodes", "3")
    assert result.stderr == ""
    assert "100.0 [100.0, 100.0]" in result.stdout
    assert "envpool" in result.stdout


def test_a_comparison_shows_both_sides_and_the_verdict(balancing_zip: Path) -> None:
    invoke("compress", balancing_zip, "--method", "l1", "--ratio", "0.5", "-o", "half")
    result = invoke(
        "evaluate",
        "half",
        "--against",
        balancing_zip,
        *SHORT,
        "--retain",
        "0.7",
        "--episodes",
        "10",
    )
    assert result.stderr == ""
    for text in ("half", "balancing.zip", "random policy", "keeps 70%", "100.0 % [100.0, 100.0]"):
        assert text in result.stdout


def test_squeeze_shows_all_it_tried_and_is_quiet_otherwise(
    balancing_zip: Path, own_folder: Path
) -> None:
    result = invoke(
        "squeeze", balancing_zip, *SHORT, "--retain", "0.7", "--episodes", "10", "--no-measure",
        "--workers", "1", "--budget", "0", "-o", "out",
    )  # fmt: skip
    assert result.exit_code == 0
    first_words = [line.split()[0] for line in result.stdout.splitlines() if line.strip()]
    for row in ("float", "ptdq", "ptsq", *(f"l{n}-{p}" for n in (1, 2) for p in range(5, 75, 5))):
        assert first_words.count(row) == 1, row
    assert "Chosen: l1-50" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""  # no terminal, no progress bar
    assert [path.name for path in own_folder.iterdir()] == ["out"]


def test_a_terminal_shows_progress_and_standard_output_stays_clean() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "evaluate", "demo", "--max-episode-steps", "50", "--episodes", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment() | {"TERM": "xterm"},
        text=True,
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
        stdout, _ = process.communicate()
    os.close(ours)
    assert process.returncode == 0
    assert b"episodes" in shown
    assert b"100%" in shown
    assert the_object(stdout)["episodes"] == 2


@pytest.mark.parametrize("existing", ["nothing", "empty", "artifact"])
def test_force_replaces_an_artifact(own_folder: Path, existing: str) -> None:
    out = own_folder / "out"
    if existing == "empty":
        out.mkdir()
    if existing == "artifact":
        invoke("compress", "demo", "--method", "float", "-o", "out")
        (out / "candidates").mkdir()
    result = invoke("compress", "demo", "--method", "ptdq", "-o", "out", "--force")
    assert result.exit_code == 0
    assert tree(own_folder).keys() == {"out", "out/policy.onnx", "out/manifest.json"}
    assert len(read_artifact(out).manifest.specs) == 1


def test_force_spares_what_is_no_artifact(own_folder: Path) -> None:
    (own_folder / "thesis").mkdir()
    (own_folder / "thesis" / "chapter.tex").write_text("precious")
    before = tree(own_folder)
    result = invoke("compress", "demo", "--method", "ptdq", "-o", "thesis", "--force")
    assert result.exit_code == 2
    assert "thesis: not an artifact" in result.stderr
    assert tree(own_folder) == before


def test_an_empty_folder_needs_no_force(own_folder: Path) -> None:
    (own_folder / "out").mkdir()
    assert invoke("compress", "demo", "--method", "ptdq", "-o", "out").exit_code == 0
    read_artifact("out")


def test_missing_parents_are_made(own_folder: Path) -> None:
    assert invoke("compress", "demo", "--method", "ptdq", "-o", "a/b/out").exit_code == 0
    assert {path.name for path in own_folder.rglob("*")} == {
        "a", "b", "out", "policy.onnx", "manifest.json",
    }  # fmt: skip


def _hint(stdout: str) -> list[str]:
    """The words of the command at the end of what `compress` says."""
    _, _, command = stdout.rstrip().rpartition("What that cost: squeezerl ")
    return shlex.split(command)


@pytest.mark.parametrize("name", ["agent.zip", "an agent's own.zip"])
def test_the_hint_of_compress_works_when_it_is_copied(
    balancing_zip: Path, own_folder: Path, name: str
) -> None:
    shutil.copy(balancing_zip, own_folder / name)
    plugin = f"mine_{len(name)}.py"  # a module of one name is loaded once
    (own_folder / plugin).write_text("loaded = True")
    result = invoke(
        "--plugin", plugin, "compress", name, "--method", "ptsq", "--env", "CartPole-v1",
        "--max-episode-steps", "20", "--calibration-episodes", "1", "-o", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert _hint(result.stdout)[0] == f"--plugin={plugin}"
    again = invoke(*_hint(result.stdout), "--episodes", "2", "--max-episodes", "2")
    assert again.exit_code == 0, again.stderr
    # Without an environment there is no command that would work.
    result = invoke("compress", name, "--method", "ptdq", "-o", "second")
    assert result.exit_code == 0
    assert "squeezerl evaluate" not in result.stdout


def test_a_file_that_grew_is_said_to_have_grown(balancing_zip: Path, own_folder: Path) -> None:
    result = invoke("compress", balancing_zip, "--method", "ptdq", "-o", "out")
    size = (own_folder / "out" / "policy.onnx").stat().st_size
    before = len(to_onnx(load_agent(balancing_zip).network).SerializeToString())
    assert size > 1.5 * before
    expected = f"{size:,} bytes on disk, {size / before:.1f} times larger than the policy in float"
    assert expected in result.stdout
    result = invoke("compress", "demo", "--method", "ptdq", "-o", "smaller")
    assert "times smaller than the policy in float" in result.stdout
