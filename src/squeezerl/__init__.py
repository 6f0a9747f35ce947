"""SqueezeRL: make a trained agent's policy small, fast and frugal, and prove what that cost.

The names below are loaded on first use, so that `import squeezerl` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeezerl.agents.load import Agent as Agent
    from squeezerl.agents.load import load_agent as load_agent
    from squeezerl.api import Evaluation as Evaluation
    from squeezerl.api import Squeezed as Squeezed
    from squeezerl.api import compare_actions as compare_actions
    from squeezerl.api import compress as compress
    from squeezerl.api import evaluate as evaluate
    from squeezerl.api import export_c as export_c
    from squeezerl.api import load as load
    from squeezerl.api import load_actor as load_actor
    from squeezerl.api import profile as profile
    from squeezerl.api import squeeze as squeeze
    from squeezerl.artifacts.artifact import Artifact as Artifact
    from squeezerl.artifacts.artifact import read_artifact as read_artifact
    from squeezerl.errors import SqueezeRLError as SqueezeRLError
    from squeezerl.evaluation.actions import KeepActions as KeepActions
    from squeezerl.evaluation.environment import Environment as Environment
    from squeezerl.evaluation.log import Log as Log
    from squeezerl.evaluation.log import read_log as read_log
    from squeezerl.measurement.result import Profile as Profile
    from squeezerl.methods.distillation import Distillation as Distillation
    from squeezerl.methods.dynamic_int8 import DynamicQuantization as DynamicQuantization
    from squeezerl.methods.finetuning import FineTuning as FineTuning
    from squeezerl.methods.pruning import StructuredPruning as StructuredPruning
    from squeezerl.methods.recipe import Recipe as Recipe
    from squeezerl.methods.recovery import Recovery as Recovery
    from squeezerl.methods.static_int8 import StaticQuantization as StaticQuantization
    from squeezerl.methods.trained_int8 import (
        QuantizationAwareTraining as QuantizationAwareTraining,
    )
    from squeezerl.network.network import Network as Network
    from squeezerl.registry import load_plugin as load_plugin
    from squeezerl.report.profile_report import profile_json as profile_json
    from squeezerl.report.profile_report import profile_markdown as profile_markdown
    from squeezerl.search.result import SqueezeResult as SqueezeResult
    from squeezerl.studies.run import run_study as run_study
    from squeezerl.training.config import QatConfig as QatConfig
    from squeezerl.training.config import TicketConfig as TicketConfig
    from squeezerl.training.config import TrainConfig as TrainConfig
    from squeezerl.training.result import TrainingResult as TrainingResult
    from squeezerl.training.train import train as train

__version__ = "0.1.0"

# Public name → its module.
_HOMES = {
    "Agent": "squeezerl.agents.load",
    "Artifact": "squeezerl.artifacts.artifact",
    "Distillation": "squeezerl.methods.distillation",
    "DynamicQuantization": "squeezerl.methods.dynamic_int8",
    "Environment": "squeezerl.evaluation.environment",
    "Evaluation": "squeezerl.api",
    "FineTuning": "squeezerl.methods.finetuning",
    "KeepActions": "squeezerl.evaluation.actions",
    "Log": "squeezerl.evaluation.log",
    "Network": "squeezerl.network.network",
    "Profile": "squeezerl.measurement.result",
    "QatConfig": "squeezerl.training.config",
    "QuantizationAwareTraining": "squeezerl.methods.trained_int8",
    "Recipe": "squeezerl.methods.recipe",
    "Recovery": "squeezerl.methods.recovery",
    "SqueezeRLError": "squeezerl.errors",
    "SqueezeResult": "squeezerl.search.result",
    "Squeezed": "squeezerl.api",
    "StaticQuantization": "squeezerl.methods.static_int8",
    "StructuredPruning": "squeezerl.methods.pruning",
    "TicketConfig": "squeezerl.training.config",
    "TrainConfig": "squeezerl.training.config",
    "TrainingResult": "squeezerl.training.result",
    "compare_actions": "squeezerl.api",
    "compress": "squeezerl.api",
    "evaluate": "squeezerl.api",
    "export_c": "squeezerl.api",
    "load": "squeezerl.api",
    "load_actor": "squeezerl.api",
    "load_agent": "squeezerl.agents.load",
    "load_plugin": "squeezerl.registry",
    "profile": "squeezerl.api",
    "profile_json": "squeezerl.report.profile_report",
    "profile_markdown": "squeezerl.report.profile_report",
    "read_artifact": "squeezerl.artifacts.artifact",
    "read_log": "squeezerl.evaluation.log",
    "run_study": "squeezerl.studies.run",
    "squeeze": "squeezerl.api",
    "train": "squeezerl.training.train",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'squeezerl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
