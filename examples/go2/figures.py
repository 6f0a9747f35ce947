"""The figures of docs/go2.md: python -m examples.go2.figures POLICY [WORK [RESULTS]].

It squeezes the policy under a guarantee on the return and from a log alone, and plays both. What
WORK holds already is not made again: the log in walk.npz, the squeezes in `return` and `log`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import squeezerl
from squeezerl.analysis.bootstrap import mean_interval
from squeezerl.analysis.retention import retention
from squeezerl.evaluation.reference_actors import RandomActor
from squeezerl.host.facts import host_facts
from squeezerl.pipeline.replay import film

from .walk import ENV_ID, Walk, record, walks

EPISODES = 50
FIRST_SEED = 400_000_000  # no squeeze played these
KEEP_ACTIONS = "0.95:0.1"
_MOST_STUDENTS = 8


def make(policy: str, work: Path) -> None:
    """Whatever is missing in the folder of the work."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "walk.npz").exists():
        record(policy, str(work / "walk.npz"))
    if not (work / "return").exists():
        squeezerl.squeeze(policy, output=work / "return", env=ENV_ID, budget="5m", measure=False)
    if not (work / "log").exists():
        squeezerl.squeeze(
            policy,
            output=work / "log",
            observations=work / "walk.npz",
            keep_actions=KEEP_ACTIONS,
            budget="5m",
            measure=False,
        )


def policies(policy: str, work: Path) -> Iterator[tuple[str, str]]:
    """What is played, by name: the original, what squeezes chose, and students from the log."""
    yield "original", policy
    yield "int8", str(work / "return/candidates/ptsq")
    for name in ("return", "log"):
        yield name, str(work / name)
    students = list((work / "log/candidates").glob("distill-*"))
    for folder in sorted(students, key=weight_bytes)[:_MOST_STUDENTS]:
        yield folder.name, str(folder)


def weight_bytes(policy: str | Path) -> int:
    """Bytes of the weights of an agent or an artifact, packed."""
    artifact = (
        squeezerl.read_artifact(policy) if Path(policy).is_dir() else squeezerl.compress(policy)
    )
    return artifact.manifest.size.weight_bytes


def played(original: Sequence[Walk], random: Sequence[float], walked: Sequence[Walk]) -> Any:
    """What the episodes of a policy say, beside those of the original on the same seeds."""
    rng = np.random.default_rng(0)
    returns, baseline = ([walk.rewards.sum() for walk in some] for some in (walked, original))
    kept = retention(returns, baseline, random, threshold=0.95, rng=rng).normalized
    errors = np.concatenate([walk.errors() for walk in walked])
    forward, turning = errors.mean(axis=0).tolist() if len(errors) else (None, None)
    return {
        "return": _interval(mean_interval(returns, rng)),
        "retention": kept and _interval(kept),
        "error_m_per_s": forward,  # of commands that were followed to their end
        "error_rad_per_s": turning,
        "falls": sum(walk.fallen for walk in walked),
    }


def _interval(found: Any) -> list[float]:
    return [found.estimate, found.low, found.high]


def main(policy: str, work: Path, results: Path) -> None:
    """Make what is missing, play everything, and write the results."""
    make(policy, work)
    seeds = range(FIRST_SEED, FIRST_SEED + EPISODES)
    environment = squeezerl.Environment.find(ENV_ID)
    log = squeezerl.read_log(work / "walk.npz").part("confirm")
    random = squeezerl.evaluate(
        RandomActor(environment, 0), env=environment, episodes=EPISODES, seed=FIRST_SEED
    ).record
    chances = [episode.return_ for episode in random.episodes]
    original, rows = walks(policy, seeds), []
    for name, path in policies(policy, work):
        rows.append(
            {
                "name": name,
                "weight_bytes": weight_bytes(path),
                **played(original, chances, original if path == policy else walks(path, seeds)),
                "actions_within": {
                    f"{tolerance:g}": squeezerl.compare_actions(
                        path, against=policy, observations=log, keep_actions=f"0.95:{tolerance}"
                    ).share.estimate
                    for tolerance in (0.02, 0.05, 0.1)
                },
            }
        )
        print(json.dumps(rows[-1], default=str), flush=True)
    profile = squeezerl.profile(
        [policy, *(work / name for name in ("return", "log"))],
        observations=work / "walk.npz",
        runtimes=("ort", "native", "cortex-m4"),
        seconds=1.0,
        energy="none",
    )
    results.mkdir(parents=True, exist_ok=True)
    smallest = work / "return"
    shown = film(
        (work / "return/candidates/float", smallest),
        ("original", f"{weight_bytes(smallest):,} bytes"),
        environment,
        results,
        seed=FIRST_SEED,
    )
    data = {
        "episodes": EPISODES,
        "first_seed": FIRST_SEED,
        "random_return": float(np.mean(chances)),
        "policies": rows,
        "profile": squeezerl.profile_json(profile),
        "video_problem": shown.problem,
        "host": dataclasses.asdict(host_facts()),
    }
    (results / "figures.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[2:]]
    main(sys.argv[1], *folders, *(Path("out/go2"), Path("results/go2"))[len(folders) :])
