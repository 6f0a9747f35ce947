"""What ONNX Runtime's default int8 kernels cost on processors without VNNI instructions.

There they add products of uint8 activations and int8 weights in 16 bits, which saturate. SqueezeRL
asks for exact arithmetic (`session.x64quantprecision`). Both play the same seeds; prints JSON with
the retention of each. On a processor with VNNI both are the same:

    python benchmarks/int8_saturation.py > results/int8_saturation.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import onnxruntime
from squeezerl.methods.compress import compress
from squeezerl.methods.specs import specs_for
from squeezerl.runtimes.onnx_actor import OnnxActor

from squeezerl.agents.load import load_agent
from squeezerl.api import make_actor
from squeezerl.evaluation.environment import Environment
from squeezerl.evaluation.evaluate import calibrate
from squeezerl.evaluation.referee import Referee
from squeezerl.host.facts import host_facts
from squeezerl.records import to_json
from squeezerl.report.evaluation_report import retention_json

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "agents"
DEFAULT = (
    "sac/HalfCheetah-v3_1:HalfCheetah-v4",
    "ppo/HalfCheetah-v3_1:HalfCheetah-v4",
    "a2c/HalfCheetah-v3_1:HalfCheetah-v4",
    "trpo/Hopper-v3_1:Hopper-v4",
    "ppo/Hopper-v3_1:Hopper-v4",
)


def default_actor(model: bytes) -> OnnxActor:
    """The model in a session as ONNX Runtime makes it unless told otherwise."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    actor = OnnxActor(model)
    actor._session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    return actor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agents", nargs="*", metavar="FOLDER:ENV", default=DEFAULT)
    parser.add_argument("--episodes", type=int, default=50)
    options = parser.parse_args()
    rows = []
    for entry in options.agents:
        path, _, env_id = entry.partition(":")
        agent = load_agent(Path(path) if Path(path).exists() else PUBLISHED / path)
        environment = Environment.find(env_id)
        baseline = make_actor(agent)
        observations, _ = calibrate(baseline, environment)
        referee = Referee(environment, baseline, threshold=0.95, seed=0, episodes=options.episodes)
        referee.prepare()
        for method in ("ptdq", "ptsq"):
            compressed = compress(agent.policy, specs_for(method), observations=observations)
            model = compressed.model.SerializeToString()
            row = {"agent": path, "env_id": env_id, "method": method}
            for name, actor in (("exact", OnnxActor(model)), ("default", default_actor(model))):
                row[name] = retention_json(referee.judge(actor).retention)
            rows.append(row)
            shares = [f"{name} {row[name]['normalized']:.1%}" for name in ("exact", "default")]
            print(path, method, *shares, file=sys.stderr)
    print(json.dumps({"host": to_json(host_facts()), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
