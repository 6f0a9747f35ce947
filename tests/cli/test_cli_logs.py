"""The commands with a log of observations in the place of an environment."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command import invoke, the_object

from made_agents import make_agent
from small_policies import demo_observations


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of the bundled agent, in the current folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("log.npz", observations=demo_observations().astype(np.float64))
    return Path("log.npz")


def test_a_policy_is_compressed_and_compared_without_an_environment(log: Path) -> None:
    recipe = "prune:l2:0.1 | recover:100 | int8:static"
    given = ("--observations", log)
    made = invoke("compress", "demo", *given, "--recipe", recipe, "-o", "out", "--json")
    assert made.exit_code == 0, made.stderr
    manifest = the_object(made.stdout)
    assert manifest["observations"]["origin"] == "log.npz"
    assert manifest["calibration"] is manifest["learning"] is None
    compared = invoke("evaluate", "out", "--against", "demo", *given, "--json")
    assert compared.exit_code == 0, compared.stderr
    data = the_object(compared.stdout)
    assert data["demand"] == "0.99:0.02"
    assert data["kept"] <= data["decisions"] == len(demo_observations())
    assert data["share_bounds"][0] <= data["share"] <= data["share_bounds"][1]
    assert len(data["dimensions"]) == 6
    text = invoke("evaluate", "out", "--against", "demo", *given, "--keep-actions", "0.5:1").stdout
    assert "keeps 50 % of decisions" in text
    assert "This is no guarantee on the return" in text
    assert "The worst decisions" in text or "row" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate demo --observations log.npz", "--against AGENT"),
        ("evaluate demo --against demo --keep-actions 0.9:0.1", "--observations LOG"),
        ("evaluate demo --against demo --observations log.npz --env Ant-v5", "no --env"),
        ("evaluate demo --against demo --observations log.npz --keep-actions 1:1", "below 1"),
        ("evaluate demo --against demo --observations few.npz", "have 100 rows: too few"),
        ("evaluate demo --against demo --observations nan.npz", "number 3 of row 2 is nan"),
        ("compress demo --observations wide.npz --method ptsq -o o", r"needs \(n, 17\)"),
        ("compress demo --observations log.npz --env Ant-v5 --method ptsq -o o", "no --env"),
        ("compress demo --observations log.npz --recipe finetune -o o", "reward of an env"),
        ("compress demo --observations many.npz --method ptsq -o o", "call what is observed"),
    ],
)
def test_what_makes_no_sense_is_refused(log: Path, arguments: str, message: str) -> None:
    seen = demo_observations()
    np.savez("few.npz", observations=seen[:100])
    np.savez("wide.npz", observations=seen[:, :16])
    np.savez("many.npz", robot=seen, command=seen[:, :2])
    spoiled = seen.copy()
    spoiled[2, 3] = np.nan
    np.savez("nan.npz", observations=spoiled)
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not Path("o").exists()


def test_choices_are_compared_as_they_are(log: Path, tmp_path: Path) -> None:
    path = make_agent("dqn", tmp_path).path
    seen = np.random.default_rng(0).normal(size=(500, 4))
    np.save("seen.npy", seen)
    result = invoke("evaluate", path, "--against", path, "--observations", "seen.npy", "--json")
    data = the_object(result.stdout)
    assert (data["verdict"], data["dimensions"], data["recorded"]) == ("keeps", [], None)


@pytest.mark.slow
def test_a_squeeze_from_a_log_prints_its_json_and_its_exit_code(log: Path) -> None:
    np.savez("long.npz", observations=np.tile(demo_observations(), (2, 1)))
    given = ("squeeze", "demo", "--observations", "long.npz", "--budget", "0", "--no-measure")
    for recipe, code in (("ptdq", 0), ("l2:0.7", 3)):
        result = invoke(*given, "--recipe", recipe, "--workers", "1", "-o", f"out{code}", "--json")
        assert result.exit_code == code, result.stderr
        data = the_object(result.stdout)
        assert (data["guarantee"], data["keep_actions"]) == ("actions", "0.99:0.02")
        assert (data["chosen"]["confirmation"] is None) == (code == 3)
        assert data["candidates"][0]["actions"]["decisions"] == 400
    assert Path("out0/policy.onnx").is_file()
