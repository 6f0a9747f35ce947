"""The one way from an agent to an artifact: calibrate, compress, write, read back."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from squeezerl.agents.load import Agent
from squeezerl.artifacts.artifact import Artifact, build_artifact
from squeezerl.errors import AuditError, EnvError, InvalidArgumentError
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.evaluation.log import Log
from squeezerl.evaluation.visits import EnvironmentVisits
from squeezerl.formats.onnx import OnnxFormat, with_metadata
from squeezerl.methods.base import Given
from squeezerl.methods.recipe import Recipe, RecipeLike
from squeezerl.network.network import Network, as_float
from squeezerl.records import AgentSource, Learning, ObservationsRecord
from squeezerl.runtimes.base import Observations
from squeezerl.runtimes.onnx_runtime import OnnxActor, load_network

CALIBRATION_EPISODES = 10
CALIBRATION_OBSERVATIONS = 4096
# Of a longer log, so many rows at even distances are enough, and fit into memory.
_MOST_ROWS = 100_000
# The share of calibration in the progress of a recipe that learns.
_CALIBRATING = 0.05


def make_artifact(
    agent: Agent,
    recipe: RecipeLike = "float",
    *,
    environment: Environment | None = None,
    log: Log | None = None,
    episodes: int = CALIBRATION_EPISODES,
    count: int = CALIBRATION_OBSERVATIONS,
    seed: int = 0,
    threads: int | None = None,
    begun: Artifact | None = None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Artifact:
    """Compress an agent; the artifact was written, read back and audited.

    Args:
        agent: stays as it is.
        recipe: text, specs or `Recipe`; "float" gives the policy in float32.
        environment: where a recipe that needs observations gets them, and where one that learns
            visits; unless given, the one that the agent was trained on.
        log: observations that were recorded elsewhere, instead of an environment.
        episodes: of calibration.
        count: of the observations that are taken from them.
        seed: of calibration and of learning.
        threads: of the environment.
        begun: what the first steps of the recipe made of the agent before, with the same seed.
        on_progress: called with the share of the work that is done.

    Raises:
        SpecError: if the recipe makes no sense, or does not fit the network.
        CompressionError: if a method cannot treat the network.
        EnvError: if environment and agent do not fit.
    """
    recipe = Recipe.of(recipe)
    observations = None
    if log is not None:
        observations = log.observations[:: -(-len(log) // _MOST_ROWS)]
    calibration = record = visits = learning = None
    learns = "visits" in recipe.needs
    calibrating = _CALIBRATING if learns else 1.0
    with ExitStack() as stack:
        if recipe.needs_environment and observations is None:
            environment = environment or home_of(agent.source)
            environment.check_fits(agent.network)
            if learns:
                visits = stack.enter_context(EnvironmentVisits(environment, seed, threads))
                learning = Learning(
                    env_id=environment.id,
                    env_kwargs=dict(environment.kwargs),
                    backend=environment.backend,
                    seed=seed,
                )
            if "observations" in recipe.needs:
                observations, calibration = calibrate(
                    load_network(agent.network),
                    environment,
                    episodes=episodes,
                    count=count,
                    seed=seed,
                    threads=threads,
                    on_progress=lambda fraction: on_progress(calibrating * fraction),
                )
        if recipe.needs_environment and observations is not None:
            record = ObservationsRecord.of(observations, "episodes" if log is None else log.origin)
        network = recipe.apply(
            agent.network if begun is None else begun.network,
            Given(
                observations=observations,
                teacher=agent.network,
                visits=visits,
                seed=seed,
                on_progress=lambda done: on_progress(calibrating + (1 - calibrating) * done),
            ),
            done=0 if begun is None else len(begun.recipe.steps),
        )
    return build_artifact(
        network,
        recipe,
        original=agent.network,
        source=agent.source,
        calibration=calibration,
        observations=record,
        learning=learning,
    )


def with_opset(artifact: Artifact, opset: int | None) -> Artifact:
    """The same artifact in another opset of ONNX, for an older ONNX Runtime on the device.

    It is read back, and has to act as before, bit for bit, in the ONNX Runtime that is here.

    Raises:
        FormatError: if the opset lacks something that the policy needs.
        AuditError: if it acts in another way.
    """
    if opset is None:
        return artifact
    written = OnnxFormat(opset)
    model = with_metadata(written.write(artifact.network), artifact.manifest.source.metadata)
    network, size = written.read(model)
    observations = _drawn_observations(network)[:256]
    before, after = (
        OnnxActor(network, content, threads=1).act(observations)
        for content in (artifact.model, model)
    )
    if not np.array_equal(before, after, equal_nan=True):
        raise AuditError(f"in opset {opset} the policy gives other actions")
    manifest = dataclasses.replace(
        artifact.manifest, size=size, model_sha256=hashlib.sha256(model).hexdigest()
    )
    return Artifact(manifest, model, network)


def home_of(source: AgentSource) -> Environment:
    """The environment that an agent was trained on, with the arguments that it had there.

    Raises:
        InvalidArgumentError: if that is not known.
        EnvError: if there is no such environment here.
    """
    if source.env_id is None:
        raise InvalidArgumentError(
            f"{source.path} does not say which environment it was trained on; name it with `env`"
        )
    return Environment.find(source.env_id, source.env_kwargs)


def recorded_observations(
    artifact: Artifact, environment: Environment | None = None
) -> Observations:
    """Observations of one episode, (n, *observation_shape), for a self-test.

    They are recorded in the environment that the agent was trained on, unless another is given.
    Where there is no environment to play in, they are drawn from the normaliser's mean and standard
    deviation, or else from a standard normal distribution.
    """
    network = artifact.network
    try:
        home = environment or home_of(artifact.manifest.source)
        home.check_fits(network)
        return calibrate(load_network(network), home, episodes=1)[0]
    except (EnvError, InvalidArgumentError):
        return _drawn_observations(network)


def _drawn_observations(network: Network) -> Observations:
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(CALIBRATION_OBSERVATIONS, math.prod(network.observation_shape)))
    if network.normalizer is not None:
        drawn /= as_float(network.normalizer.inverse_std)
        drawn += as_float(network.normalizer.mean)
    return drawn.astype(np.float32).reshape(-1, *network.observation_shape)
