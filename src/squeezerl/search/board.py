"""What is known of a squeeze's candidates, and the jobs that would tell what is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from squeezerl.errors import ExecutionError
from squeezerl.formats.base import SizeRecord
from squeezerl.jobs.job import Job, StoredResult
from squeezerl.jobs.location import Location
from squeezerl.jobs.store import Store
from squeezerl.methods.recipe import Recipe
from squeezerl.pipeline.evaluate import record_of
from squeezerl.pipeline.kinds import COMPRESS, EVALUATE, calibration_params, log_params
from squeezerl.pipeline.place import Place
from squeezerl.records import EvaluationRecord
from squeezerl.search.candidates import BASELINE, Candidate
from squeezerl.search.judging import RANDOM, REFERENCES, NotYet, Player

STUDY = "squeeze"
# The end of a traceback, where the error is one that a method raised.
_OUR_ERROR = re.compile(r"^squeezerl\.errors\.\w+: (.+)\Z", re.MULTILINE | re.DOTALL)


@final
class Board:
    """Results of jobs, by candidate. Where one is missing, a method raises `NotYet` with its job.

    Args:
        agent: which one at the location it is, as jobs carry it.
        place: where candidates play and are calibrated; `None` where there is a log instead.
        location: where artifacts are.
        seed: of the first attempt at a recipe, and of the first episode.
        fresh: the first seed of confirmations.
        episodes: of a first full look.
        log: the key of the log that candidates are fitted to, in the place of an environment.
        timed: whether decisions of each candidate are timed.
    """

    def __init__(
        self,
        agent: Mapping[str, Any],
        place: Place | None,
        location: Location,
        *,
        seed: int,
        fresh: int = 0,
        episodes: int = 0,
        log: str | None = None,
        timed: bool = False,
    ) -> None:
        self._agent, self._place, self._location = agent, place, location
        self._log, self._timed = log, timed
        self._seed, self._fresh, self._episodes = seed, fresh, episodes
        self._results: dict[str, StoredResult] = {}
        self._problems: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._compressed: dict[str, Job] = {}

    def read(self, store: Store) -> None:
        """Take in what is in a store.

        Raises:
            ExecutionError: if a job failed for another reason than that a method refused.
        """
        for row in store.results(STUDY, arrays=True):
            if row.job.id not in self._results:
                self._results[row.job.id] = StoredResult(
                    content=row.content,
                    arrays=row.arrays,
                    host_id=row.host_id,
                    seconds=row.seconds,
                )
                if row.job.kind == COMPRESS.name:
                    self._compressed[row.job.id] = row.job
        baseline = self.compress_job(BASELINE).id
        for failure in store.failures(STUDY):
            refused = _OUR_ERROR.search(failure.error)
            if failure.job.kind != COMPRESS.name or not refused or failure.job.id == baseline:
                last = failure.error.strip().splitlines()[-1]
                raise ExecutionError(f"{failure.label['stage']}: {last}")
            self._problems[failure.job.id] = refused[1].strip()

    def made(self) -> list[Candidate]:
        """The candidates that were made, in the order in which the search asked for them."""
        made: dict[str, Candidate] = {}
        for job in self._compressed.values():
            calibration = job.params["calibration"]
            made[job.id] = Candidate(
                Recipe.from_json(job.params["specs"]),
                attempt=calibration["seed"] - self._seed if calibration else 0,
                begun=made.get(job.params.get("begun", "")),
            )
        return list(made.values())

    def problem(self, candidate: Candidate) -> str | None:
        """Why it could not be made; `None` if it could."""
        return self._problems.get(self.compress_job(candidate).id)

    def artifact(self, candidate: Candidate) -> Path | None:
        """The folder of its artifact; `None` if it could not be made."""
        result = self._made(candidate)
        return None if result is None else self._location.fetch(result.content["artifact"])

    def size(self, candidate: Candidate) -> SizeRecord | None:
        """`None` if it could not be made."""
        result = self._made(candidate)
        return None if result is None else SizeRecord(**result.content["size"])

    def weight_bytes(self, candidate: Candidate) -> int:
        """Of a candidate that could be made."""
        size = self.size(candidate)
        assert size is not None
        return size.weight_bytes

    def macs(self, candidate: Candidate) -> int:
        """The multiplications of one decision, for a candidate that could be made."""
        result = self._made(candidate)
        assert result is not None
        layers = result.content["layers"]
        return sum(layer["in_features"] * layer["out_features"] for layer in layers)

    def decision_s(self, candidate: Candidate) -> float:
        """Seconds of one decision inside C, for a candidate that could be made and is timed."""
        result = self._made(candidate)
        assert result is not None
        seconds: float = result.content["decision_s"]
        return seconds

    def seconds(self, candidate: Candidate) -> float:
        """How long it took to make a candidate that could be made."""
        result = self._made(candidate)
        assert result is not None
        return result.seconds

    def play(self, player: Player, first: int, count: int) -> EvaluationRecord:
        """Episodes of a player, once they have been played."""
        players = [player]
        seed = self._fresh if first >= self._fresh else self._seed
        if first >= seed + self._episodes:
            # When a candidate gets more episodes, the others get them, too: ask for all at once.
            players += [other for other in REFERENCES if other != player]
        jobs = {each: self._evaluate_job(each, first, count) for each in players}
        makers = [self.compress_job(each) for each in players if isinstance(each, Candidate)]
        if any(job.id not in self._results for job in (*makers, *jobs.values())):
            # What is done already costs nothing, and what needs it asks for it to be there.
            raise NotYet([*makers, *jobs.values()])
        return record_of(jobs[player], self._results[jobs[player].id])

    def label(self, job: Job) -> Mapping[str, str]:
        """What the progress bar says of a job."""
        if job.kind == COMPRESS.name:
            return {"stage": f"compress {self._names[job.id]}"}
        name = self._names.get(job.params["policy"].get("job", ""), "random policy")
        fresh = job.params["seed"] >= self._fresh
        return {"stage": f"confirm {name}" if fresh else f"play {name}"}

    def compress_job(self, candidate: Candidate) -> Job:
        """The job that makes it."""
        seed = self._seed + candidate.attempt
        plays = candidate.recipe.needs_environment
        params: dict[str, Any] = {
            "agent": self._agent,
            "specs": candidate.recipe.to_json(),
            "calibration": self._calibration(seed) if plays else None,
        }
        if self._timed:
            params["timed"] = True
        needs: tuple[str, ...] = ()
        if candidate.begun is not None:
            params["begun"] = self.compress_job(candidate.begun).id
            needs = (params["begun"],)
        job = COMPRESS.job(params, needs=needs, estimate_s=candidate.learning_s)
        self._names[job.id] = candidate.name
        return job

    def _calibration(self, seed: int) -> dict[str, Any]:
        if self._log is not None:
            return log_params(self._log, seed)
        assert self._place is not None
        return calibration_params(self._place, seed)

    def _made(self, candidate: Candidate) -> StoredResult | None:
        job = self.compress_job(candidate)
        if job.id in self._problems:
            return None
        if job.id not in self._results:
            raise NotYet([job])
        return self._results[job.id]

    def _evaluate_job(self, player: Player, first: int, count: int) -> Job:
        assert self._place is not None
        params = {**self._place.params, "episodes": count, "seed": first}
        if isinstance(player, str):
            return EVALUATE.job({"policy": {RANDOM: first}, **params})
        compressed = self.compress_job(player).id
        policy = {"job": compressed, "folder": ""}
        return EVALUATE.job({"policy": policy, **params}, needs=(compressed,))
