"""`train`: an agent from nothing, or from where an interrupted training stood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from squeezerl.runtimes.sb3_predictor import import_contrib, import_sb3
from squeezerl.training.config import TrainConfig
from squeezerl.training.result import Progress, TrainingResult


def train(
    config: TrainConfig,
    *,
    output: str | Path,
    resume: bool = False,
    on_progress: Progress = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train an agent with Stable-Baselines3 into an rl-zoo folder, which `load_agent` reads.

    Example:
        >>> import squeezerl
        >>> config = squeezerl.TrainConfig(algorithm="ppo", env="CartPole-v1", steps=50_000)
        >>> result = squeezerl.train(config, output="cartpole")
        >>> result.evaluation.mean_return

    Args:
        config: what to train.
        output: folder to write: new or empty, unless `resume`.
        resume: go on with the training in `output` from its last checkpoint.
        on_progress: called a few times per second with how far the training is.
        should_stop: asked between rollouts; if it returns true, a checkpoint is written and the
            training ends.

    Raises:
        SqueezeRLError: for bad input, before anything is trained.
    """
    import_sb3()
    import_contrib()
    # These import Stable-Baselines3, which is an optional dependency.
    from squeezerl.training.resolve import resolve
    from squeezerl.training.run import run

    return run(
        resolve(config),
        Path(output),
        resume=resume,
        on_progress=on_progress,
        should_stop=should_stop,
    )
