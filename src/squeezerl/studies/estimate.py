"""How long jobs will take: from finished jobs of the same sort, or from rates of one machine.

The constants are CPU seconds of one thread, measured in November 2026 on a virtual machine with two
cores of an AMD EPYC that were busy with other work, too. On other machines they give the order of
magnitude.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from squeezerl.jobs.job import Job
from squeezerl.methods.base import expected_layers
from squeezerl.methods.distillation import Distillation
from squeezerl.methods.recipe import Recipe
from squeezerl.methods.recovery import Recovery
from squeezerl.network.network import Network
from squeezerl.pipeline.make import CALIBRATION_EPISODES
from squeezerl.pipeline.place import Place
from squeezerl.studies.study import Measure, Training

if TYPE_CHECKING:
    from squeezerl.jobs.job import StoredRow

# Seconds of one environment step with the float policy, by the environment's name without version.
_STEP_S = {
    "HalfCheetah": 75e-6,
    "Hopper": 80e-6,
    "Walker2d": 100e-6,
    "Ant": 320e-6,
    "Humanoid": 400e-6,
    "HumanoidStandup": 490e-6,
    "Pendulum": 12e-6,
    "CartPole": 20e-6,
}
_OTHER_STEP_S = 100e-6
_STEPS = 1000  # of an episode without a limit of its own
# One gradient step: a part that does not depend on the networks' size, and a part for each
# parameter and sample of the batch.
_UPDATE_S = {
    "ppo": 1.2e-3,
    "a2c": 2.0e-3,
    "ddpg": 2.4e-3,
    "td3": 2.4e-3,
    "sac": 3.5e-3,
    "tqc": 4.5e-3,
    "dqn": 1.5e-3,
    "qrdqn": 2.0e-3,
}
_PARAMETER_SAMPLE_S = 1.8e-10
_TRPO_STEP_S = 0.2e-3  # of learning, for each environment step
_ROLLOUT_STEP_S = {
    True: 0.05e-3,
    False: 0.3e-3,
}  # on-policy ones play 8 side by side
_QAT_TIMES = 1.35
_START_S = 1.5  # of a training: imports, environments, the first of everything
_WRITE_S = 0.05
# Seconds of one step of imitation: a constant part and a part per weight, which is larger if the
# network has integers (True).
_IMITATION_S = 1.35e-3
_IMITATION_WEIGHT_S = {False: 5.6e-8, True: 9e-8}
_VISITS = 4.5  # environment steps per step of imitation
_MEASURE_ROW_S = 12.0  # six to twelve fresh processes, without the seconds that are asked for
# Bytes that a finished job leaves.
_TRAIN_BYTES = {"on": 2_500_000, "off": 6_000_000}
_COMPRESS_BYTES = 250_000
_EPISODE_BYTES = 24
_PROFILE_SECOND_BYTES = 300_000
_ROW_BYTES = 2_000


def train_s(training: Training, *, qat: bool = False) -> float:
    """Seconds of a training."""
    return _START_S + training.learning_s * (_QAT_TIMES if qat else 1.0)


def learning_s(
    algorithm: str,
    place: Place,
    *,
    on_policy: bool,
    steps: int,
    evaluation_episodes: int,
    model: Mapping[str, Any],
    parameters: int,
) -> float:
    """Seconds of learning and evaluating.

    Args:
        algorithm: its name.
        place: the environment.
        on_policy: whether it learns only from what it has just played.
        steps: environment steps.
        evaluation_episodes: over all evaluations.
        model: hyperparameters of the algorithm.
        parameters: how many there are in all networks that learn.
    """
    rollout = steps * (_step_s(place) + _ROLLOUT_STEP_S[on_policy])
    playing = evaluation_episodes * _episode_s(place)
    if algorithm == "trpo":
        return rollout + playing + steps * _TRPO_STEP_S
    batch = int(model.get("batch_size", 64 if on_policy else 256))
    if algorithm == "a2c":
        updates = steps / (8 * int(model.get("n_steps", 5)))
    elif on_policy:
        updates = steps * int(model.get("n_epochs", 10)) / batch
    else:
        frequency = model.get("train_freq", 1)
        every = int(frequency if isinstance(frequency, int | float) else frequency[0])
        times = int(model.get("gradient_steps", 1))
        updates = max(0, steps - int(model.get("learning_starts", 100)))
        updates *= 1 if times < 0 else times / max(1, every)
    update_s = _UPDATE_S[algorithm] + _PARAMETER_SAMPLE_S * parameters * batch
    return rollout + playing + updates * update_s


def compress_s(place: Place, recipe: Recipe, network: Network | None) -> float:
    """Seconds that a compression takes; an unknown network is assumed to be small."""
    seconds = _WRITE_S
    if "observations" in recipe.needs:
        seconds += CALIBRATION_EPISODES * _episode_s(place)
    layers = [] if network is None else expected_layers(network)
    integers = False
    for step in recipe.steps:
        integers = integers or step.gives_integers
        if network is not None:
            layers = step.expect(layers)
        if not isinstance(step, Distillation | Recovery):
            seconds += step.estimate_s
            continue
        weights = sum(layer.in_features * layer.out_features for layer in layers)
        step_s = _IMITATION_S + _IMITATION_WEIGHT_S[integers] * weights
        seconds += step.steps * (step_s + _VISITS * _step_s(place))
    return seconds


def evaluate_s(place: Place, episodes: int) -> float:
    """Seconds of an evaluation whose episodes go to their limit."""
    return episodes * _episode_s(place)


def profile_s(measure: Measure, *, rows: int) -> float:
    """Seconds of a profile with so many pairs of policy and runtime."""
    return rows * (_MEASURE_ROW_S + 2 * measure.seconds)


def stored_bytes(job: Job) -> float:
    """What a job leaves at the location and in the store."""
    params = job.params
    if job.kind == "train":
        return _TRAIN_BYTES["on" if params["algorithm"] in ("trpo", "ppo", "a2c") else "off"]
    if job.kind == "compress":
        return _COMPRESS_BYTES
    if job.kind == "evaluate":
        return _ROW_BYTES + _EPISODE_BYTES * float(params["episodes"])
    rows = 1 + len(params["subjects"]) + len(params["best_of"])
    return _ROW_BYTES + _PROFILE_SECOND_BYTES * float(params["seconds"]) * rows


def refined(jobs: Iterable[Job], finished: Iterable[StoredRow]) -> dict[str, float]:
    """Estimates for jobs, by their ids, from finished jobs of the same sort.

    The sort of a training is its algorithm, environment, settings, and whether it is for int8; that
    of a compression is its agent and what kinds of steps it has. The seconds that finished jobs
    took are scaled by the number of steps or episodes.
    """
    rates: dict[str, list[float]] = {}
    for row in finished:
        seconds = float(row.content.get("seconds", 0)) if row.job.kind == "train" else row.seconds
        rates.setdefault(_sort(row.job), []).append(seconds / _amount(row.job))
    medians = {sort: statistics.median(values) for sort, values in rates.items()}
    return {job.id: medians[sort] * _amount(job) for job in jobs if (sort := _sort(job)) in medians}


def _sort(job: Job) -> str:
    params = job.params
    parts: list[Any] = [job.kind]
    if job.kind == "train":
        parts += [params["algorithm"], params["env_id"], params["hyperparameters"]]
        parts += [params["qat"] is not None, params["evaluations"], params["eval_episodes"]]
        parts += [params["ticket"] is not None]
    elif job.kind == "evaluate":
        parts += [params["env_id"], sorted(params["policy"])]
    elif job.kind == "compress":
        parts += [[spec["kind"] for spec in params["specs"]], params["agent"]]
    else:
        parts += [params["seconds"], params["runtimes"]]
    return repr(parts)


def _amount(job: Job) -> float:
    params = job.params
    if job.kind == "train":
        return float(params["steps"])
    if job.kind == "evaluate":
        return float(params["episodes"])
    if job.kind == "compress":
        return float(sum(spec.get("steps", 0) for spec in params["specs"]) or 1)
    if job.kind == "profile":
        return 1.0 + len(params["subjects"]) + len(params["best_of"])
    return 1.0


def _step_s(place: Place) -> float:
    name = re.sub(r"-v\d+$", "", place.env_id.rpartition(":")[2])
    return _STEP_S.get(name, _OTHER_STEP_S)


def _episode_s(place: Place) -> float:
    return (place.max_steps or _STEPS) * _step_s(place)
