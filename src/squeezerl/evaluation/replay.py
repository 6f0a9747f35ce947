"""An episode of a policy as pictures: MuJoCo off screen, everything else as Gymnasium draws it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from squeezerl.errors import EnvError
from squeezerl.evaluation import stepping
from squeezerl.evaluation.environment import Environment, make_gymnasium
from squeezerl.runtimes.base import Actor

SIZE = 320  # pixels, the height of a picture and the most of its width but for a quarter
_FPS = 20
_USUAL_FPS = 30  # of environments that do not say theirs


@dataclass(frozen=True, kw_only=True)
class Replay:
    """An episode that was played to its end, with pictures of its beginning.

    Args:
        frames: pictures (n, height, width, 3).
        steps: (n,), how many steps were done before each picture.
        fps: pictures for each second of the environment's own time.
        returns: (length + 1,), the running return; it begins with 0.
        deviation: (length, dimensions), how far each action is from the teacher's in the same
            state, in half ranges; for discrete actions 1 where it is another.
    """

    frames: npt.NDArray[np.uint8]
    steps: npt.NDArray[np.int64]
    fps: float
    returns: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    @property
    def length(self) -> int:
        """Steps of the episode."""
        return len(self.returns) - 1


def replay(
    actor: Actor,
    teacher: Actor,
    environment: Environment,
    *,
    seed: int,
    seconds: float,
    patience_s: float,
) -> Replay:
    """Play an episode in Gymnasium and draw its beginning in real time.

    Args:
        actor: the policy.
        teacher: whose actions its own are compared with.
        environment: where; it is made anew, with a renderer.
        seed: of the episode.
        seconds: of the environment's own time that are drawn.
        patience_s: that drawing may take; what does not fit is left out.

    Raises:
        EnvError: if the environment cannot be drawn here, or fails.
    """
    env = _drawable(environment)
    try:
        own_fps = env.metadata.get("render_fps") or _USUAL_FPS
        every = max(1.0, own_fps / _FPS)
        spread = _half_range(environment)
        row = np.array([0])
        for player in (actor, teacher):
            player.seed_noise(row, [seed])
            player.start(row)
        observation = stepping.reset(env, environment.observation_shape, environment.id, seed)
        frames, steps, returns, deviations = [_picture(env)], [0], [0.0], []
        began, ended = time.monotonic(), False
        while not ended:
            batch = np.asarray(observation, dtype=np.float32)[None]
            action = actor.act(batch, row)
            wanted = action if teacher is actor else teacher.act(batch, row)
            deviations.append(_distance(action[0], wanted[0], spread))
            number = len(returns)
            observation, reward, ended = stepping.step(
                env, action[0], environment.observation_shape, environment.id, seed, number
            )
            returns.append(returns[-1] + reward)
            stepping.check_length(environment.id, environment.max_episode_steps, number)
            due = number >= len(frames) * every and number <= seconds * own_fps
            if (due or (ended and number <= seconds * own_fps)) and (
                time.monotonic() - began < patience_s
            ):
                frames.append(_picture(env))
                steps.append(number)
    finally:
        env.close()
    return Replay(
        frames=np.stack(frames),
        steps=np.array(steps),
        fps=own_fps / every,
        returns=np.array(returns),
        deviation=np.array(deviations),
    )


def _drawable(environment: Environment) -> gymnasium.Env[Any, Any]:
    """The environment with a renderer.

    Raises:
        EnvError: if it has none.
    """
    env = make_gymnasium(environment.id, {**environment.kwargs, "render_mode": "rgb_array"})
    if environment.change is not None:
        environment.change(env)
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        env.close()
        raise EnvError(f"{environment.id} draws no pictures (its render_modes lack rgb_array)")
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None:
        model = env.unwrapped.model
        # Shadows and smoothing take nine tenths of the time where the CPU draws.
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
        renderer.width = renderer.height = SIZE
        if "track" in (names := [model.camera(number).name for number in range(model.ncam)]):
            renderer.camera_id = names.index("track")  # the usual camera stays where it is
    return env


def _picture(env: gymnasium.Env[Any, Any]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    try:
        drawn = env.render()
    except Exception as error:  # renderers and drivers raise anything
        raise EnvError(f"the renderer failed: {error!r}") from error
    if not isinstance(drawn, np.ndarray) or drawn.ndim != 3 or drawn.shape[2] != 3:
        raise EnvError("the renderer gives no pictures of the shape (height, width, 3)")
    picture = Image.fromarray(drawn.astype(np.uint8))
    picture.thumbnail((SIZE * 5 // 4, SIZE))
    return np.asarray(picture)


def _half_range(environment: Environment) -> npt.NDArray[np.float64] | None:
    """Of each dimension of the action; `None` for discrete actions."""
    if environment.action_low is None or environment.action_high is None:
        return None
    half = (environment.action_high.astype(np.float64) - environment.action_low) / 2
    return np.where(np.isfinite(half), half, 1.0)


def _distance(
    action: npt.NDArray[Any], wanted: npt.NDArray[Any], spread: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    if spread is None:
        return np.atleast_1d(np.asarray(action != wanted, dtype=np.float64))
    difference: npt.NDArray[np.float64] = np.abs(action.astype(np.float64) - wanted) / spread
    return difference.ravel()
