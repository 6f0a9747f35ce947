"""Scalars and pictures of a report in TensorBoard or Weights & Biases."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from squeezerl.training.config import check_tracker

LOG = "tensorboard"  # the folder in a report's folder


class Scalar(NamedTuple):
    """A value under a tag, at a step."""

    tag: str
    step: int
    value: float


def squeeze_scalars(data: dict[str, Any]) -> list[Scalar]:
    """Bytes and retention of each candidate, the largest first, and of the chosen one.

    Args:
        data: what `squeeze_json` gives.
    """
    made = [one for one in data["candidates"] if one["weight_bytes"] is not None]
    made.sort(key=lambda one: -one["weight_bytes"])
    named = [("candidates", step, one) for step, one in enumerate(made)]
    named.append(("chosen", 0, data["chosen"]))
    found = []
    for group, step, one in named:
        values = {
            "weight_bytes": one["weight_bytes"],
            "mean_return": one.get("mean_return"),
            "retention": (one.get("retention") or {}).get("normalized"),
        }
        found += [
            Scalar(f"{group}/{name}", step, value)
            for name, value in values.items()
            if value is not None
        ]
    return found


def study_scalars(folder: Path) -> list[Scalar]:
    """The interquartile mean of each method; the step is the percentage of neurons removed.

    Args:
        folder: with a study's report.
    """
    import pandas as pd

    rows = pd.read_csv(folder / "tables/aggregates.csv").dropna(subset=["iqm"])
    return [
        Scalar(f"iqm/{row['method']}", round(100 * row["ratio"]) if row["ratio"] > 0 else 0,
               float(row["iqm"]))
        for row in rows.to_dict("records")
    ]  # fmt: skip


def log_report(folder: Path, name: str, scalars: Iterable[Scalar], track: str) -> None:
    """Write scalars and all pictures of a report to `tensorboard/` in its folder.

    Args:
        folder: of the report.
        name: of the run, for Weights & Biases.
        scalars: to log.
        track: "tensorboard" or "wandb".

    Raises:
        InvalidArgumentError: if there is no such tracker, or its package is missing.
    """
    check_tracker(track)
    run: Any = None
    if track == "wandb":
        import wandb

        run = wandb.init(project="squeezerl", name=name, dir=str(folder), sync_tensorboard=True)
    try:
        _write(folder, scalars)
    finally:
        if run is not None:
            run.finish()


def _write(folder: Path, scalars: Iterable[Scalar]) -> None:
    from PIL import Image
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder / LOG))
    for tag, step, value in scalars:
        entry = Summary.Value(tag=tag, simple_value=value)
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[entry])))
    for path in sorted([*folder.glob("*.png"), *folder.glob("figures/*.png")]):
        with Image.open(path) as picture:
            width, height = picture.size
        image = Summary.Image(
            encoded_image_string=path.read_bytes(), width=width, height=height, colorspace=4
        )
        entry = Summary.Value(tag=f"figures/{path.stem}", image=image)
        writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=[entry])))
    writer.close()
