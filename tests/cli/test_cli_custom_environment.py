from __future__ import annotations

from pathlib import Path

import pytest
from command import invoke, run, the_object

from squeezerl.evaluation import stepping

pytestmark = pytest.mark.slow

TASK = '''
import gymnasium
import numpy as np


class Task(gymnasium.Env):
    """Three steps, each worth `reward`; observations and actions of CartPole."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, reward=1.0, render_mode=None):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 3
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), self.reward, self.left == 0, False, {}


gymnasium.register("Task-v0", Task)
'''


def test_a_module_of_the_current_folder_brings_its_environment(
    balancing_zip: Path, own_folder: Path
) -> None:
    (own_folder / "my_task.py").write_text(TASK)
    # Not what `import numpy` may find.
    (own_folder / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    result = run(
        "evaluate", balancing_zip, "--env", "my_task:Task-v0", "--env-kwargs", "reward:2.5",
        "--episodes", "40", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    data = the_object(result.stdout)
    assert data["env_id"] == "my_task:Task-v0"
    assert data["env_kwargs"] == {"reward": 2.5}
    assert data["backend"] == "gymnasium"
    assert data["returns"] == [7.5] * 40


def test_a_module_that_fails_is_bad_input(balancing_zip: Path, own_folder: Path) -> None:
    (own_folder / "my_task.py").write_text("1 / 0")
    result = run("evaluate", balancing_zip, "--env", "my_task:Task-v0")
    assert result.returncode == 2
    assert result.stderr.startswith("error: my_task:Task-v0")
    assert "Traceback" not in result.stderr


def test_an_environment_without_an_end_gives_an_early_warning_and_takes_a_limit(
    balancing_zip: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "HINT_AFTER", 1_000)
    monkeypatch.setattr(stepping, "ENDLESS", 2_000)
    monkeypatch.syspath_prepend(own_folder)
    (own_folder / "endless_task.py").write_text(TASK.replace("self.left == 0", "False"))
    command = ("evaluate", balancing_zip, "--env", "endless_task:Task-v0", "--episodes", "1")
    endless = invoke(*command)
    assert endless.exit_code == 2
    warning, error = endless.stderr.splitlines()
    assert warning.startswith("warning: endless_task:Task-v0 sets no limit")
    assert "after 1,000 steps; --max-episode-steps sets one" in warning
    assert error.startswith("error: endless_task:Task-v0: an episode did not end after 2,000 steps")
    assert error.endswith("--max-episode-steps 1000")
    limited = invoke(*command, "--max-episode-steps", "7", "--json")
    data = the_object(limited.stdout)
    assert (data["returns"], data["env_kwargs"]) == ([7.0], {"max_episode_steps": 7})
