"""Make docs/cartpole.html: CartPole in the browser, balanced by a squeezed policy in WebAssembly.

python scripts/cartpole_page.py ../shared/agents/dqn/CartPole-v1_1
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import squeezerl
from squeezerl.formats.c.program import c_program
from squeezerl.measurement.microcontroller import build_wasm
from squeezerl.pipeline.make import recorded_observations

PAGE = Path(__file__).resolve().parents[1] / "docs/cartpole.html"
TEMPLATE = Path(__file__).with_suffix(".html")
RECIPE = "bits:8"


def main() -> None:
    """Write the page."""
    artifact = squeezerl.compress(sys.argv[1], RECIPE)
    program = c_program(artifact.network, "policy", recorded_observations(artifact))
    module = build_wasm(program)
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("@MODULE@", base64.b64encode(module).decode())
    page = page.replace("@BYTES@", f"{len(module):,}").replace("@RECIPE@", RECIPE)
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE.name}: a module of {len(module):,} bytes")


if __name__ == "__main__":
    main()
