"""Where the curves of a training go: TensorBoard, or Weights & Biases."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from squeezerl.errors import InvalidArgumentError
from squeezerl.training.settings import TrainingSettings

# Weights & Biases reads what is written for TensorBoard.
_PACKAGES: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb", "tensorboard"),
}


def check_tracker(track: str | None) -> None:
    """Raise an `InvalidArgumentError` if it does not exist, or its package is not installed."""
    if track is None:
        return
    if track not in _PACKAGES:
        raise InvalidArgumentError(f"track {track!r} is not one of {', '.join(_PACKAGES)}")
    for package in _PACKAGES[track]:
        if importlib.util.find_spec(package) is None:
            raise InvalidArgumentError(
                f"--track {track}: {package} is not installed; "
                f"install it with: pip install 'squeezerl[{track}]'"
            )


@contextmanager
def tracked(settings: TrainingSettings, output: Path) -> Iterator[Path | None]:
    """The folder for TensorBoard's files while a training runs; `None` without tracking."""
    folder = output / "tensorboard"
    if settings.track is None:
        yield None
    elif settings.track == "tensorboard":
        yield folder
    else:
        import wandb

        run: Any = wandb.init(
            project="squeezerl",
            name=f"{settings.algorithm.name}-{settings.env_name}-{settings.seed}",
            dir=str(output),
            config={
                **settings.hyperparameters.raw,
                "algorithm": settings.algorithm.name,
                "environment": settings.environment.id,
                "steps": settings.steps,
                "seed": settings.seed,
                "qat": settings.qat is not None,
            },
            sync_tensorboard=True,
        )
        try:
            yield folder
        finally:
            run.finish()
