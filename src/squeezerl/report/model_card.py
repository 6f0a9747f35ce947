"""A model card: the README of a repository on the Hugging Face Hub, with its `model-index`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from squeezerl.artifacts.artifact import Artifact, read_artifact
from squeezerl.errors import InvalidArgumentError
from squeezerl.pipeline.replay import POSTER, VIDEO
from squeezerl.report.deployment import deployment
from squeezerl.report.document import Block, Code, Document, Heading, Link, Paragraph, Table, Video
from squeezerl.report.renderers import render

CARD = "README.md"
RESULTS = "results.json"


def model_card(folder: Path, returns: Sequence[float] = (), env_id: str | None = None) -> str:
    """The card of an artifact, or of the folder of a squeeze.

    Args:
        folder: with the artifact; the returns of a squeeze's fresh episodes are in `results.json`.
        returns: of complete episodes, where there is no squeeze.
        env_id: where these were played.

    Raises:
        SqueezeRLError: if there is no artifact, or if no returns are known.
    """
    artifact = read_artifact(folder)
    found = read_results(folder)
    if found is not None:
        chosen = found["chosen"]
        # Where the float policy was chosen, its episodes are the baseline's.
        returns = chosen.get("returns") or found["baseline"]["returns"]
        env_id = found["env_id"]
    if not returns or env_id is None:
        raise InvalidArgumentError(f"{folder}: no returns are known, and a model card needs them")
    document = _document(artifact, folder, found, returns, env_id)
    front = yaml.safe_dump(_facts(artifact, returns, env_id), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{render(document, 'markdown', folder)}"


def read_results(folder: Path) -> dict[str, Any] | None:
    """What a squeeze wrote into its folder; `None` if it is no squeeze's.

    Raises:
        InvalidArgumentError: if it cannot be read.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["chosen"], found["baseline"]["returns"], found["env_id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"{path}: not the results of a squeeze ({error!r})") from error
    return found


def _name(artifact: Artifact, env_id: str) -> str:
    """For example "ppo-HalfCheetah-v5-bits-4"."""
    text = f"{artifact.algorithm or 'policy'}-{env_id}-{artifact.recipe.name}"
    return re.sub(r"[^\w.-]+", "-", text)


def _facts(artifact: Artifact, returns: Sequence[float], env_id: str) -> dict[str, Any]:
    """What the Hub reads: task, data set and metric as Stable-Baselines3's own cards have them."""
    mean, deviation = np.mean(returns), np.std(returns)
    return {
        "library_name": "squeezerl",
        "pipeline_tag": "reinforcement-learning",
        "tags": [
            env_id,
            "deep-reinforcement-learning",
            "reinforcement-learning",
            "onnx",
            "squeezerl",
            *([artifact.algorithm] if artifact.algorithm else []),
        ],
        "model-index": [
            {
                "name": _name(artifact, env_id),
                "results": [
                    {
                        "task": {
                            "type": "reinforcement-learning",
                            "name": "reinforcement-learning",
                        },
                        "dataset": {"name": env_id, "type": env_id},
                        "metrics": [
                            {
                                "type": "mean_reward",
                                "value": f"{mean:.2f} +/- {deviation:.2f}",
                                "name": "mean_reward",
                                "verified": False,
                            }
                        ],
                    }
                ],
            }
        ],
    }


def _document(
    artifact: Artifact,
    folder: Path,
    found: dict[str, Any] | None,
    returns: Sequence[float],
    env_id: str,
) -> Document:
    manifest = artifact.manifest
    rows = [
        ("recipe", Code(manifest.recipe)),
        ("bytes of the policy", f"{manifest.size.weight_bytes:,}"),
        ("bytes of the file", f"{manifest.size.file_bytes:,}"),
        (
            "mean return",
            f"{np.mean(returns):,.1f} ± {np.std(returns):,.1f} over {len(returns)} episodes",
        ),
        *(_kept(found) if found else ()),
        ("made from", f"an agent trained with {manifest.source.algorithm or 'unknown'}, SHA-256 "
         f"{manifest.source.sha256}"),
    ]  # fmt: skip
    blocks: list[Block] = [
        Paragraph(
            (
                f"A policy for {env_id}, compressed with SqueezeRL. It takes the raw observation "
                "and gives the environment's action; the observation normaliser is inside.",
            )
        ),
        Table(header=("", ""), rows=tuple(rows), left=(0, 1)),
    ]
    if (folder / VIDEO).is_file():
        blocks.append(
            Video(
                title="The original and the compressed policy in the same episode",
                path=VIDEO,
                poster=POSTER,
            )
        )
    if (folder / "report.html").is_file():
        blocks.append(Paragraph(("See ", Link("the whole report", "report.html"), ".")))
    blocks += deployment(artifact, has_c=(folder / "c").is_dir())
    blocks += [
        Heading("Versions"),
        Paragraph(", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
    ]
    return Document(title=_name(artifact, env_id), blocks=tuple(blocks))


def _kept(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What the policy keeps of the original's return, if a smaller one was chosen."""
    retention = found["chosen"].get("retention")
    if not retention or retention.get("normalized") is None:
        return []
    low, high = retention["normalized_ci95"]
    before = found["baseline"]["weight_bytes"]
    times = before / found["chosen"]["weight_bytes"]
    return [
        (
            "return kept",
            f"{retention['normalized']:.1%} [{100 * low:.1f}, {100 * high:.1f}] of the original's, "
            f"random-normalised, over {retention['episodes']} fresh episodes",
        ),
        ("times smaller", f"{times:.1f} (from {before:,} bytes)"),
    ]
