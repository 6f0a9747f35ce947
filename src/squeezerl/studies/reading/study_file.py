"""`read_study`: the study in a YAML file."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from urllib.parse import urlsplit

from squeezerl.errors import StudyError
from squeezerl.evaluation.evaluate import MAX_EPISODES, MAX_SEED
from squeezerl.host.facts import host_facts
from squeezerl.jobs.location import Location
from squeezerl.jobs.open import SQLITE, sqlite_path
from squeezerl.measurement.meters.choose import choose_meter
from squeezerl.measurement.settings import Settings
from squeezerl.runtimes.base import RUNTIMES
from squeezerl.studies.reading.agents import read_agents
from squeezerl.studies.reading.methods import read_methods
from squeezerl.studies.reading.yaml_node import YamlNode, each, read_yaml_node, unknown
from squeezerl.studies.study import Measure, Study, Variant

_KEYS = ("name", "store", "artifacts", "agents", "environments", "methods")
_MORE_KEYS = ("episodes", "seed", "measure")
_MEASURE_KEYS = ("methods", "train_seeds", "runtimes", "seconds", "precision")
_ENERGY_KEYS = ("energy", "watts_per_core")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
BEST = "best"


def read_study(
    path: str | Path, *, store: str | None = None, artifacts: str | None = None
) -> Study:
    """The study in a YAML file; its agents are loaded and its environments made for the check.

    Args:
        path: of the file.
        store: URL of a database instead of the file's.
        artifacts: URL of a folder instead of the file's.

    Raises:
        StudyError: if anything is wrong in the file; it names the line.
    """
    root, text = read_yaml_node(Path(path))
    parts = root.mapping((*_KEYS, *_MORE_KEYS), required=("name", "agents"))
    name = read_name(parts["name"])
    episodes = parts["episodes"].whole(1, MAX_EPISODES) if "episodes" in parts else 100
    seed = parts["seed"].whole(0, MAX_SEED) if "seed" in parts else 0
    agents, trainings = read_agents(
        parts["agents"], Path(path).absolute().parent, parts.get("environments")
    )
    variants = read_methods(parts["methods"], agents, trainings) if "methods" in parts else ()
    store = _read_store(parts, name, store)
    return Study(
        name=name,
        store=store,
        artifacts=_read_artifacts(parts, store, artifacts),
        agents=agents,
        trainings=trainings,
        variants=variants,
        episodes=episodes,
        seed=seed,
        measure=_read_measure(parts["measure"], variants) if "measure" in parts else None,
        text=text,
    )


def read_name(node: YamlNode) -> str:
    """A study's name, which is part of file names, too.

    Raises:
        StudyError: if it has other characters than file names should have.
    """
    name = node.text()
    if not _NAME.fullmatch(name):
        raise node.error(
            f"name {name[:80]!r}: give at most 80 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit"
        )
    return name


def default_store(name: str) -> str:
    """The store of a study unless another one is given: a file in the current folder."""
    return f"{SQLITE}{name}.db"


def check_store(url: str) -> None:
    """Check a store's URL without opening the store.

    Raises:
        StudyError: if it is not a URL of SQLite or PostgreSQL, or if a package is missing.
    """
    if url.startswith(SQLITE) and url != SQLITE:
        return
    if not url.startswith(("postgresql://", "postgresql+psycopg://")):
        # Not quoted as a whole: it may hold a password.
        raise StudyError(
            f"a store {url.split('@')[-1]!r} is not supported; give sqlite:///FILE.db or "
            "postgresql://USER@HOST/DATABASE"
        )
    if importlib.util.find_spec("psycopg") is None:
        raise StudyError(
            'a store in PostgreSQL needs another package: pip install "squeezerl[postgresql]"'
        )


def _read_store(parts: dict[str, YamlNode], name: str, store: str | None) -> str:
    """The URL of the store."""
    if store is not None:
        check_store(store)
        return store
    if "store" not in parts:
        return default_store(name)
    with parts["store"].blamed():
        check_store(parts["store"].text())
    return parts["store"].text()


def _read_artifacts(parts: dict[str, YamlNode], store: str, artifacts: str | None) -> str:
    """The URL of the folder of artifacts; unless given, all studies in a store share one."""
    if artifacts is not None:
        return Location(artifacts).url
    if "artifacts" in parts:
        with parts["artifacts"].blamed():
            return Location(parts["artifacts"].text()).url
    if (path := sqlite_path(store)) is not None:
        return Location(str(path.with_name(f"{path.stem}-artifacts"))).url
    database = urlsplit(store).path.strip("/") or "store"
    return Location(f"{database}-artifacts").url


def _read_measure(node: YamlNode, variants: tuple[Variant, ...]) -> Measure:
    parts = node.mapping((*_MEASURE_KEYS, *_ENERGY_KEYS))
    pruning = tuple(dict.fromkeys(v.method for v in variants if _is_swept(v)))
    best, chosen = pruning, tuple(v.name for v in variants if not _is_swept(v))
    if "methods" in parts:
        best, chosen = _read_measured(parts["methods"], variants, pruning)
    runtimes: tuple[str, ...] = ("ort",)
    if "runtimes" in parts:
        runtimes = each(parts["runtimes"], lambda item: item.choice(RUNTIMES.names))
    for runtime in runtimes:
        if RUNTIMES.get(runtime).is_gpu:
            raise parts["runtimes"].error(
                f"{runtime} cannot be measured in a study; squeezerl profile measures it"
            )
    seconds = parts["seconds"].number(0.1, 60) if "seconds" in parts else 0.6
    precision = parts["precision"].number(0.001, 1) if "precision" in parts else 0.05
    energy = parts["energy"].text() if "energy" in parts else "auto"
    watts = parts["watts_per_core"].number(0.001, 10_000) if "watts_per_core" in parts else None
    with node.blamed():
        # Both are checked: workers on hosts without a sensor will use the watts.
        choose_meter(host_facts(), energy=energy)
        if watts is not None:
            choose_meter(host_facts(), watts_per_core=watts)
        Settings(runtimes=runtimes, seconds=seconds, precision=precision)
    seeds = parts["train_seeds"].choice(("first", "all")) if "train_seeds" in parts else "first"
    return Measure(
        variants=chosen,
        best=best,
        all_seeds=seeds == "all",
        runtimes=runtimes,
        seconds=seconds,
        precision=precision,
        energy=energy,
        watts_per_core=watts,
    )


def _is_swept(variant: Variant) -> bool:
    """Whether it is one percentage of a method, of which the best is measured."""
    return variant.ratio is not None and not variant.trains


def _read_measured(
    node: YamlNode, variants: tuple[Variant, ...], pruning: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods of which to measure the best percentage, and the names of variants to measure."""
    best: tuple[str, ...] = ()
    chosen: list[str] = []
    methods = tuple(dict.fromkeys(variant.method for variant in variants))
    for item in node.items_or_one():
        text = item.text()
        if text == BEST:
            if not pruning:
                raise item.error(
                    "best is for methods with percentages such as l1 and l2; the study has none"
                )
            best = pruning
            continue
        named = [v.name for v in variants if text in (v.method, v.name)]
        if not named:
            names = (*methods, *(v.name for v in variants if v.ratio is not None), BEST)
            raise item.error(f"not a method of this study: {unknown(text, names)}")
        chosen += [name for name in named if name not in chosen]
    return best, tuple(chosen)
