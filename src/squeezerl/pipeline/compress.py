"""`compress`: an agent becomes an artifact; without specs, its policy in float32."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from squeezerl.agents.load import Agent, load_agent
from squeezerl.artifacts.write import write_artifact
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.jobs.context import JobContext, stoppable
from squeezerl.jobs.job import Job, Outcome
from squeezerl.methods.compress import compress as compress_policy
from squeezerl.methods.specs import spec_from_json
from squeezerl.pipeline.kinds import sizes
from squeezerl.pipeline.place import Place
from squeezerl.records import to_json
from squeezerl.runtimes.onnx_actor import OnnxActor


def compress(job: Job, context: JobContext) -> Outcome:
    """Compress, audit and put the artifact to the location.

    Raises:
        Interrupted: if the job was asked to stop.
        SqueezeRLError: if a layer cannot be treated as the specs ask.
    """
    params = job.params
    agent = _fetch(params["agent"], context)
    observations = calibration = None
    if (given := params["calibration"]) is not None:
        with stoppable(context) as progress:
            observations, calibration = calibrate(
                OnnxActor(compress_policy(agent.policy).model.SerializeToString()),
                Place.of(given).find(),
                episodes=given["episodes"],
                count=given["count"],
                seed=given["seed"],
                threads=context.threads,
                on_progress=progress,
            )
    specs = [spec_from_json(dict(spec)) for spec in params["specs"]]
    compressed = compress_policy(agent.policy, specs, observations=observations)
    with tempfile.TemporaryDirectory(prefix="squeezerl-job-") as name:
        folder = Path(name) / "artifact"
        manifest = write_artifact(compressed, agent.source, folder, calibration=calibration)
        stored = context.location.put(folder)
    return Outcome(
        content={
            **sizes(manifest.size),
            "layers": to_json(manifest.layers),
            "model_sha256": manifest.model_sha256,
            "artifact": stored.name,
            "stored_bytes": stored.bytes,
        }
    )


def _fetch(given: dict[str, Any], context: JobContext) -> Agent:
    """The agent; its source names the job or the hash, not where the files are just now."""
    if "job" in given:
        agent = load_agent(context.fetch(given["job"]))
        name = f"job {given['job']}"
    else:
        agent = load_agent(context.location.fetch_input(given["sha256"]))
        name = f"agent {given['sha256']}"
    return Agent(agent.policy, dataclasses.replace(agent.source, path=name))
