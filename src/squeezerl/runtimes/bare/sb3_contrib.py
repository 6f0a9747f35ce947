"""The same for the algorithms of sb3-contrib, which its users import too."""

from __future__ import annotations

from squeezerl.runtimes.bare.sb3 import load
from squeezerl.runtimes.sb3_predictor import import_contrib

import_contrib()

__all__ = ["load"]
