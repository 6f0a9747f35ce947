from __future__ import annotations

from pathlib import Path

import pytest
from command import invoke, the_object

from blind_corridor import CORRIDOR, save_agent


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that gets out of the blind corridor with drawn actions only."""
    return save_agent("PPO", tmp_path_factory.mktemp("blind") / "agent.zip")


def test_drawn_actions_are_evaluated_and_reported_with_their_seed(blind: Path) -> None:
    command = ("evaluate", blind, "--env", CORRIDOR, "--episodes", "20", "--seed", "3")
    data = the_object(invoke(*command, "--stochastic", "--json").stdout)
    assert -30 < data["mean_return"] < -8
    assert (data["seed"], data["noise_seed"]) == (3, 3)
    assert "noise of each episode has the episode's seed" in invoke(*command, "--stochastic").stdout
    assert the_object(invoke(*command, "--json").stdout)["noise_seed"] is None


@pytest.mark.slow
def test_an_agent_that_needs_its_noise_is_told_the_command(blind: Path, own_folder: Path) -> None:
    common = ("--env", CORRIDOR, "--episodes", "60")
    played = invoke("evaluate", blind, *common)
    compared = invoke("evaluate", blind, *common, "--against", blind)
    for result in (played, compared):
        assert result.exit_code == 0
        assert "warning:" in result.stderr
    squeezed = invoke("squeeze", blind, *common, "-o", "out", "--workers", "1", "--no-measure")
    assert squeezed.exit_code == 2
    for result, words in (
        (played, f"evaluate {blind} --env {CORRIDOR} --episodes 60"),
        (compared, f"evaluate {blind} --env {CORRIDOR} --episodes 60 --against {blind}"),
        (squeezed, f"squeeze {blind} --output out --env {CORRIDOR} --episodes 60 --workers 1"),
    ):
        lines = result.stderr.splitlines()
        assert "with drawn ones (random: -" in lines[-2]
        assert lines[-2].endswith("It needs the noise that it was trained with: --stochastic")
        assert lines[-1].startswith(f"try: squeezerl {words} ")
        assert "--stochastic" in lines[-1]
        assert ("--no-measure" in lines[-1]) == (result is squeezed)
    assert list(own_folder.iterdir()) == []


def test_a_mismatch_comes_with_a_command_that_runs(balancing_zip: Path) -> None:
    short = ("--episodes", "1", "--max-episode-steps", "9")
    refused = invoke("evaluate", "demo", "--env", "HalfCheetah-v2", *short)
    assert refused.exit_code == 2
    command = refused.stderr.splitlines()[-1].removeprefix("try: squeezerl ")
    assert command == "evaluate demo --env HalfCheetah-v3 --episodes 1 --max-episode-steps 9"
    assert invoke(*command.split()).exit_code == 0
    kwargs = "exclude_current_positions_from_observation:false"
    refused = invoke("evaluate", "demo", "--env", "HalfCheetah-v5", "--env-kwargs", kwargs, *short)
    assert "It fits HalfCheetah-v5" in refused.stderr
    stacked = invoke(
        "evaluate", balancing_zip, "--env", "CartPole-v1", "--frame-stack", "2", *short
    )
    assert (
        "4,) and 2 discrete actions; CartPole-v1 has observations of shape (8,)" in stacked.stderr
    )


def test_inspect_shows_the_distribution(blind: Path) -> None:
    assert "categorical (--stochastic draws from it)" in invoke("inspect", blind).stdout
    demo = the_object(invoke("inspect", "demo", "--json").stdout)
    assert demo["sampling"]["noise"] == "normal"
    assert len(demo["sampling"]["deviation"]) == 6
