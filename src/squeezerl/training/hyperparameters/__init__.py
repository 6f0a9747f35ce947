"""Settings for training, in rl-zoo's format: those that come with SqueezeRL, and the user's.

One YAML file an algorithm lies here, with one entry an environment.
"""

from squeezerl.training.hyperparameters.load import load_hyperparameters
from squeezerl.training.hyperparameters.read import Hyperparameters, Normalization

__all__ = ["Hyperparameters", "Normalization", "load_hyperparameters"]
