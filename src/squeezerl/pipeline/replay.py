"""Two policies side by side in the same episode, as a video.

It is made in a process of its own: a driver that crashes or hangs costs the video and no more.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt

from squeezerl.artifacts.artifact import read_artifact
from squeezerl.errors import EnvError, MeasurementError, SqueezeRLError
from squeezerl.evaluation.environment import Environment, registration
from squeezerl.evaluation.replay import Replay, replay
from squeezerl.measurement.processes import run_module
from squeezerl.runtimes.base import RUNTIMES

VIDEO, POSTER = "replay.mp4", "replay.jpg"
_SECONDS = 10.0
_DRAWING_S = 5.0  # for each of the two policies
_PATIENCE_S = 60.0
_MOST_BYTES = 1_000_000
_QUALITIES = (24, 30, 36)  # x264's constant rate factors, the best first
_BAR, _GAP = 36, 8  # pixels above and below the pictures, and between them
_INK, _GROUND, _SOFT = (240, 243, 246), (20, 24, 28), (150, 160, 170)


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """The same episode of two policies.

    Args:
        problem: why there is no video; all else is then empty.
        env_id: where it was played, in Gymnasium.
        seed: of the episode.
        names: of the two policies, the original first.
        returns, lengths: of their complete episodes.
        seconds: that the video lasts.
        deviation: (length, dimensions), of the second policy's actions from those of the first in
            the same states, in half ranges of the action; see `Replay`.
    """

    problem: str | None = None
    env_id: str = ""
    seed: int = 0
    names: tuple[str, str] = ("", "")
    returns: tuple[float, float] = (0.0, 0.0)
    lengths: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    deviation: npt.NDArray[np.float64] | None = None


def film(
    artifacts: Sequence[Path],
    names: tuple[str, str],
    environment: Environment,
    folder: Path,
    *,
    seed: int,
) -> Film:
    """Write `replay.mp4` and `replay.jpg`; a film without them says why.

    Args:
        artifacts: the folders of the original and of the other policy.
        names: of the two.
        environment: where; the episode is played in Gymnasium.
        folder: for the two files.
        seed: of the episode.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        return Film(problem="videos need PyAV: pip install 'squeezerl[video]'")
    register = registration(environment.id)
    job = {
        "artifacts": [str(path) for path in artifacts],
        "names": names,
        "env_id": environment.id,
        "env_kwargs": dict(environment.kwargs),
        "seed": seed,
        "register": register,
        "path": str(Path.cwd()),
        "folder": str(folder),
    }
    own = os.environ.get("MUJOCO_GL")
    found, may_differ = _in_process(job, own or "egl")
    if found.problem is not None and may_differ and not own:
        other, _ = _in_process(job, "osmesa")
        return found if other.problem else other
    return found


def _in_process(job: dict[str, Any], backend: str) -> tuple[Film, bool]:
    """The film, and whether another renderer of MuJoCo's could change it."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "job.pickle").write_bytes(cloudpickle.dumps(job))
        variables = {"MUJOCO_GL": backend, "SDL_VIDEODRIVER": "dummy", "OMP_NUM_THREADS": "1"}
        try:
            ended = run_module(
                "squeezerl.pipeline.replay", str(scratch), patience_s=_PATIENCE_S,
                environment=variables,
            )  # fmt: skip
        except MeasurementError:
            return Film(problem=f"the renderer took more than {_PATIENCE_S:.0f} s"), False
        try:
            said = json.loads((scratch / "film.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            return Film(problem=f"the renderer ended with {ended.returncode}: {last}"), True
        if said["problem"] is not None:
            return Film(problem=said["problem"]), said["is_mujoco"]
        deviation = np.load(scratch / "deviation.npy", allow_pickle=False)
    return (
        Film(
            env_id=said["env_id"],
            seed=said["seed"],
            names=tuple(said["names"]),
            returns=tuple(said["returns"]),
            lengths=tuple(said["lengths"]),
            seconds=said["seconds"],
            deviation=deviation,
        ),
        False,
    )


def _main(scratch: Path) -> None:
    job = cloudpickle.loads((scratch / "job.pickle").read_bytes())
    sys.path.insert(0, job["path"])
    if job["register"] is not None:
        job["register"]()
    try:
        said = _play_and_write(job, scratch) | {"problem": None}
    except SqueezeRLError as error:
        said = {"problem": str(error), "is_mujoco": "mujoco" in sys.modules}
    (scratch / "film.json").write_text(json.dumps(said), encoding="utf-8")


def _play_and_write(job: dict[str, Any], scratch: Path) -> dict[str, Any]:
    environment = Environment.find(job["env_id"], job["env_kwargs"], backend="gymnasium")
    load = RUNTIMES.get("ort").load
    actors = [load(read_artifact(path)) for path in job["artifacts"]]
    shown = [
        replay(
            actor, actors[0], environment,
            seed=job["seed"], seconds=_SECONDS, patience_s=_DRAWING_S,
        )
        for actor in actors
    ]  # fmt: skip
    pictures = _side_by_side(shown, job["names"])
    folder = Path(job["folder"])
    _write_video(pictures, shown[0].fps, folder / VIDEO)
    from PIL import Image

    poster = Image.fromarray(pictures[len(pictures) // 3])
    poster.save(folder / POSTER, quality=82, optimize=True)
    np.save(scratch / "deviation.npy", shown[1].deviation)
    return {
        "env_id": environment.id,
        "seed": job["seed"],
        "names": job["names"],
        "returns": [float(one.returns[-1]) for one in shown],
        "lengths": [one.length for one in shown],
        "seconds": len(pictures) / shown[0].fps,
    }


def _side_by_side(shown: Sequence[Replay], names: Sequence[str]) -> list[npt.NDArray[np.uint8]]:
    """Pictures of both with their names and running returns; what has ended stands still."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = shown[0].frames.shape[1:3]
    whole_width, whole_height = 2 * width + _GAP, height + 2 * _BAR
    size = (whole_width + whole_width % 2, whole_height + whole_height % 2)
    font = ImageFont.load_default(size=21)
    pictures = []
    for number in range(max(len(one.frames) for one in shown)):
        picture = Image.new("RGB", size, _GROUND)
        pen = ImageDraw.Draw(picture)
        for side, (one, name) in enumerate(zip(shown, names, strict=True)):
            left = side * (width + _GAP)
            index = min(number, len(one.frames) - 1)
            step = int(one.steps[index])
            picture.paste(Image.fromarray(one.frames[index]), (left, _BAR))
            pen.text((left + 8, 6), name, _SOFT if side == 0 else _INK, font)
            said = f"return {one.returns[step]:,.1f}"
            if step == one.length:
                said += f"   ended, {step:,} steps"
            pen.text((left + 8, _BAR + height + 6), said, _INK, font)
        pictures.append(np.asarray(picture))
    return pictures


def _write_video(pictures: Sequence[npt.NDArray[np.uint8]], fps: float, path: Path) -> None:
    """Write H.264, which every browser plays, as well as fits into a megabyte."""
    import fractions

    import av

    height, width = pictures[0].shape[:2]
    for quality in _QUALITIES:
        try:
            with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
                stream = container.add_stream(
                    "libx264",
                    rate=fractions.Fraction(fps).limit_denominator(1000),
                    options={"crf": str(quality), "preset": "veryfast", "threads": "1"},
                )
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for picture in pictures:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        except (av.FFmpegError, ValueError) as error:
            path.unlink(missing_ok=True)
            raise EnvError(f"PyAV cannot write H.264: {error}") from error
        if path.stat().st_size <= _MOST_BYTES:
            return


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
