"""SqueezeRL: make a trained agent's policy small, fast and frugal, and prove what that cost.

The names below are loaded on first use, so that `import squeezerl` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezerl.agents.load import load_agent as load_agent
    from squeezerl.api import make_actor as make_actor
    from squeezerl.api import profile as profile
    from squeezerl.api import squeeze as squeeze
    from squeezerl.api import train as train
    from squeezerl.artifacts.read import read_artifact as read_artifact
    from squeezerl.artifacts.write import write_artifact as write_artifact
    from squeezerl.evaluation.environment import Environment as Environment
    from squeezerl.evaluation.evaluate import calibrate as calibrate
    from squeezerl.evaluation.evaluate import evaluate as evaluate
    from squeezerl.evaluation.referee import Referee as Referee
    from squeezerl.methods.compress import compress as compress
    from squeezerl.methods.specs import DynamicQuantization as DynamicQuantization
    from squeezerl.methods.specs import QuantizationAwareTraining as QuantizationAwareTraining
    from squeezerl.methods.specs import StaticQuantization as StaticQuantization
    from squeezerl.methods.specs import StructuredPruning as StructuredPruning
    from squeezerl.report.profile_report import profile_json as profile_json
    from squeezerl.report.profile_report import profile_markdown as profile_markdown
    from squeezerl.report.squeeze_report import summary as summary
    from squeezerl.runtimes.onnx_actor import load_actor as load_actor
    from squeezerl.studies.run import run_study as run_study

__version__ = "0.1.0"

_HOMES = {
    "DynamicQuantization": "squeezerl.methods.specs",
    "Environment": "squeezerl.evaluation.environment",
    "QuantizationAwareTraining": "squeezerl.methods.specs",
    "Referee": "squeezerl.evaluation.referee",
    "StaticQuantization": "squeezerl.methods.specs",
    "StructuredPruning": "squeezerl.methods.specs",
    "calibrate": "squeezerl.evaluation.evaluate",
    "compress": "squeezerl.methods.compress",
    "evaluate": "squeezerl.evaluation.evaluate",
    "make_actor": "squeezerl.api",
    "load_actor": "squeezerl.runtimes.onnx_actor",
    "load_agent": "squeezerl.agents.load",
    "profile": "squeezerl.api",
    "profile_json": "squeezerl.report.profile_report",
    "profile_markdown": "squeezerl.report.profile_report",
    "read_artifact": "squeezerl.artifacts.read",
    "run_study": "squeezerl.studies.run",
    "squeeze": "squeezerl.api",
    "summary": "squeezerl.report.squeeze_report",
    "train": "squeezerl.api",
    "write_artifact": "squeezerl.artifacts.write",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'squeezerl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
