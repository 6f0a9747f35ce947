"""`compress`: an agent becomes an artifact; without specs, its policy in float32.

One that is made already is taken as it is."""

from __future__ import annotations

import dataclasses
from typing import Any

from squeezerl.agents.load import Agent, load_agent
from squeezerl.artifacts.artifact import Artifact, read_artifact
from squeezerl.jobs.context import JobContext, stoppable
from squeezerl.jobs.job import Job, Outcome
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.kinds import fetch_log, sizes
from squeezerl.pipeline.make import make_artifact
from squeezerl.pipeline.place import Place
from squeezerl.records import to_json
from squeezerl.runtimes.native import decision_seconds


def compress(job: Job, context: JobContext) -> Outcome:
    """Compress, audit and put the artifact to the location.

    Raises:
        Interrupted: if the job was asked to stop.
        SqueezeRLError: if a layer cannot be treated as the specs ask.
    """
    if "made" in job.params:
        artifact = read_artifact(context.location.fetch_input(job.params["made"]))
    else:
        artifact = _make(job, context)
    timed = {}
    if job.params.get("timed"):
        timed["decision_s"] = decision_seconds(artifact.network)
    with context.location.scratch() as scratch:
        folder = scratch / "artifact"
        artifact.save(folder)
        stored = context.location.put(folder)
    manifest = artifact.manifest
    return Outcome(
        content={
            **sizes(manifest.size),
            **timed,
            "size": to_json(manifest.size),
            "layers": to_json(manifest.layers),
            "model_sha256": manifest.model_sha256,
            "artifact": stored.name,
            "stored_bytes": stored.bytes,
        }
    )


def _make(job: Job, context: JobContext) -> Artifact:
    agent = _fetch(job.params["agent"], context)
    recipe = Recipe.from_json(job.params["specs"])
    given, begun = job.params["calibration"] or {}, job.params.get("begun")
    log = fetch_log(given["log"], context.location) if "log" in given else None
    with stoppable(context) as progress:
        return make_artifact(
            agent,
            recipe,
            environment=Place.of(given).find() if "env_id" in given else None,
            log=log,
            **{name: given[name] for name in ("episodes", "count", "seed") if name in given},
            threads=context.threads,
            begun=None if begun is None else read_artifact(context.fetch(begun)),
            on_progress=progress,
        )


def _fetch(given: dict[str, Any], context: JobContext) -> Agent:
    """The agent; its source names the job or the hash, not where the files are just now."""
    if "job" in given:
        agent = load_agent(context.fetch(given["job"]))
        name = f"job {given['job']}"
    else:
        agent = Agent.read(context.location.fetch_input(given["sha256"]))
        name = agent.source.path
    return Agent(agent.network, dataclasses.replace(agent.source, path=name))
