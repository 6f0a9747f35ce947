"""The same for the algorithms of sb3-contrib, which its users import too."""

from __future__ import annotations

from squeezerl.agents.sb3_model import import_contrib
from squeezerl.runtimes.bare.sb3 import load

import_contrib()

__all__ = ["load"]
