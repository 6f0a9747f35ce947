"""Settings for training in rl-zoo's format: one YAML file per algorithm lies here.

Each file has one entry per environment.
"""

from squeezerl.training.hyperparameters.load import (
    Hyperparameters,
    Normalization,
    load_hyperparameters,
)

__all__ = ["Hyperparameters", "Normalization", "load_hyperparameters"]
