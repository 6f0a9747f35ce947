"""The plan: a study's grid becomes jobs that need each other, each of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from squeezerl.jobs.job import Job
from squeezerl.jobs.kinds import Kind
from squeezerl.pipeline.kinds import (
    COMPRESS,
    EVALUATE,
    PROFILE,
    TRAIN,
    agent_params,
    calibration_params,
)
from squeezerl.pipeline.place import Place
from squeezerl.records import to_json
from squeezerl.studies import estimate
from squeezerl.studies.study import (
    QAT_WARMUP,
    ExistingAgent,
    Measure,
    Study,
    Training,
    Variant,
)

Label = dict[str, Any]
_INT8 = "int8"
# The longest work comes first: whatever is short fits in at the end.
_ORDER = {kind.name: position for position, kind in enumerate((TRAIN, COMPRESS, EVALUATE, PROFILE))}


@dataclass(frozen=True)
class Plan:
    """The jobs of a study and what each is for.

    Args:
        study: the study.
        jobs: each once; what a job needs comes before it.
        labels: the labels of each job by its id. A label has role, agent, algorithm, env_id,
            train_seed, method and ratio, and where it is about a policy, the method's record.
            Work that the study names twice has two labels.
    """

    study: Study
    jobs: tuple[Job, ...]
    labels: Mapping[str, tuple[Label, ...]]

    @property
    def members(self) -> list[tuple[Job, Label]]:
        """Each job with each of its labels, as `Store.put_study` takes them."""
        return [(job, label) for job in self.jobs for label in self.labels[job.id]]


# A policy as jobs name it: the job that makes it, and the folder in what that leaves.
_Policy = dict[str, str]


def plan_study(study: Study) -> Plan:
    """The jobs of a study."""
    planner = _Planner(study)
    for agent in study.everyone:
        planner.add_agent(agent)
        for name in ("random", "constant"):
            planner.add_reference(name, agent.place)

    def order(job: Job) -> tuple[float, ...]:
        if job.kind == TRAIN.name:
            return (_ORDER[job.kind], len(job.needs), -(job.estimate_s or 0))
        return (_ORDER[job.kind],)

    labels = {id_: tuple(labels) for id_, labels in planner.labels.items()}
    return Plan(study, tuple(sorted(planner.jobs.values(), key=order)), labels)


class _Planner:
    """Collects the jobs and their labels by the jobs' ids."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self.jobs: dict[str, Job] = {}
        self.labels: dict[str, list[Label]] = {}
        self._measured: set[str] = set()

    def add_reference(self, name: str, place: Place) -> str:
        """The evaluation of the "random" or best "constant" policy: one per environment."""
        label = {"agent": "", "algorithm": "", "env_id": place.name, "train_seed": None}
        label |= {"method": name, "ratio": None}
        return self._evaluate({name: self._study.seed}, place, (), label)

    def add_agent(self, agent: Training | ExistingAgent) -> None:
        """The float policy of an agent, and all variants that are for this agent."""
        label: Label = {
            "agent": agent.name,
            "algorithm": agent.algorithm,
            "env_id": agent.place.name,
            "train_seed": agent.seed if isinstance(agent, Training) else None,
        }
        source: dict[str, Any]
        if isinstance(agent, Training):
            source = {"job": self._train(agent, {**label, "method": "float", "ratio": None})}
        else:
            source = agent_params(agent.agent)
        steps = None if isinstance(agent, Training) else agent.agent.source.trained_steps
        known = {} if steps is None else {"trained_steps": steps}
        baseline = self._add_policy(Variant(method="float"), agent, source, label | known)
        made: list[tuple[Variant, _Policy, str]] = []
        for variant in self._study.variants:
            if not variant.is_for(agent.algorithm, agent.place.env_id):
                continue
            exists = isinstance(agent, ExistingAgent)
            if variant.trains and exists and agent.name not in variant.made:
                continue
            policy, evaluation = self._add_policy(variant, agent, source, label)
            made.append((variant, policy, evaluation))
        measure = self._study.measure
        if measure is not None and (measure.all_seeds or agent.name not in self._measured):
            self._measured.add(agent.name)
            self._profile(measure, agent, label, baseline, made)

    def _add_policy(
        self,
        variant: Variant,
        agent: Training | ExistingAgent,
        source: Mapping[str, Any],
        label: Label,
    ) -> tuple[_Policy, str]:
        """The jobs that make a variant's policy and evaluate it."""
        label = {
            **label,
            "method": variant.method,
            "ratio": variant.ratio,
            "record": to_json(variant.record),
        }
        if isinstance(agent, Training) and variant.qat is not None:
            qat = {"spec": variant.qat.to_json(), "warmup": QAT_WARMUP, "critic": False}
            policy = {"job": self._train(agent, label, qat=qat), "folder": _INT8}
        elif isinstance(agent, Training) and variant.ticket is not None:
            ticket = {"of": source["job"], "norm": variant.ticket, "ratio": variant.ratio}
            trained = {"job": self._train(agent, label, ticket=ticket)}
            policy = self._compress(variant, agent, trained, label)
        else:
            policy = self._compress(variant, agent, source, label)
        evaluation = self._evaluate(policy, agent.place, (policy["job"],), label)
        return policy, evaluation

    def _train(
        self,
        training: Training,
        label: Label,
        *,
        qat: dict[str, Any] | None = None,
        ticket: dict[str, Any] | None = None,
    ) -> str:
        return self._add(
            TRAIN,
            {
                "algorithm": training.algorithm,
                **training.place.params,
                "steps": training.steps,
                "seed": training.seed,
                "hyperparameters": dict(training.hyperparameters),
                "qat": qat,
                "ticket": ticket,
                "evaluations": training.evaluations,
                "eval_episodes": training.eval_episodes,
            },
            label,
            needs=() if ticket is None else (ticket["of"],),
            estimate_s=estimate.train_s(training, qat=qat is not None),
        )

    def _compress(
        self,
        variant: Variant,
        agent: Training | ExistingAgent,
        source: Mapping[str, Any],
        label: Label,
    ) -> _Policy:
        made = variant.made.get(agent.name)
        plays = variant.recipe.needs_environment and made is None
        job = self._add(
            COMPRESS,
            {
                "agent": dict(source),
                "specs": variant.recipe.to_json(),
                "calibration": calibration_params(agent.place, self._study.seed) if plays else None,
                **({} if made is None else {"made": made.manifest.model_sha256}),
            },
            label,
            needs=(source["job"],) if "job" in source else (),
            estimate_s=estimate.compress_s(
                agent.place,
                variant.recipe,
                agent.agent.network if isinstance(agent, ExistingAgent) else None,
            ),
        )
        return {"job": job, "folder": ""}

    def _evaluate(
        self, policy: Mapping[str, Any], place: Place, needs: Sequence[str], label: Label
    ) -> str:
        study = self._study
        return self._add(
            EVALUATE,
            {
                "policy": dict(policy),
                **place.params,
                "episodes": study.episodes,
                "seed": study.seed,
            },
            label,
            needs=tuple(needs),
            estimate_s=estimate.evaluate_s(place, study.episodes),
        )

    def _profile(
        self,
        measure: Measure,
        agent: Training | ExistingAgent,
        label: Label,
        baseline: tuple[_Policy, str],
        made: Sequence[tuple[Variant, _Policy, str]],
    ) -> None:
        """One profile of an agent: the float policy beside all others that are to be measured.

        Its parameters name policies by the jobs that make them: what the study calls them is no
        part of the work. `results` finds the names again in the labels of these jobs.
        """
        subjects: list[_Policy] = []
        for variant, policy, _ in made:
            if variant.name in measure.variants and policy not in subjects:
                subjects.append(policy)
        best: list[list[dict[str, Any]]] = [
            [
                {"ratio": variant.ratio, **policy, "evaluation": evaluation}
                for variant, policy, evaluation in made
                if variant.method == method
            ]
            for method in measure.best
        ]
        best = [candidates for candidates in best if candidates]
        reference, evaluation = baseline
        needs = [reference["job"], *(subject["job"] for subject in subjects)]
        needs += [
            one[name] for several in best for one in several for name in ("job", "evaluation")
        ]
        random = self.add_reference("random", agent.place) if best else None
        if random is not None:
            needs += [evaluation, random]
        self._add(
            PROFILE,
            {
                "reference": reference,
                "reference_evaluation": evaluation if best else None,
                "random_evaluation": random,
                "subjects": subjects,
                "best_of": best,
                "calibration": calibration_params(agent.place, self._study.seed),
                "runtimes": list(measure.runtimes),
                "seconds": measure.seconds,
                "precision": measure.precision,
                "energy": measure.energy,
                "watts_per_core": measure.watts_per_core,
                "seed": self._study.seed,
            },
            {**label, "method": None, "ratio": None},
            needs=tuple(dict.fromkeys(needs)),
            exclusive=True,
            estimate_s=estimate.profile_s(
                measure, rows=(1 + len(subjects) + len(best)) * len(measure.runtimes)
            ),
        )

    def _add(
        self,
        kind: Kind,
        params: dict[str, Any],
        label: Label,
        *,
        needs: tuple[str, ...],
        estimate_s: float,
        exclusive: bool = False,
    ) -> str:
        job = kind.job(params, needs=needs, exclusive=exclusive, estimate_s=estimate_s)
        self.jobs.setdefault(job.id, job)
        labels = self.labels.setdefault(job.id, [])
        if (label := {"role": kind.name, **label}) not in labels:
            labels.append(label)
        return job.id
