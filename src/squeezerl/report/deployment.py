"""How to deploy an artifact: lines to copy."""

from __future__ import annotations

from collections.abc import Sequence

from squeezerl.agents.env_wrappers import notes_on
from squeezerl.artifacts.artifact import Artifact
from squeezerl.artifacts.manifest import MODEL_NAME
from squeezerl.network.network import Part
from squeezerl.report.document import Block, Code, Heading, Paragraph, Preformatted


def _entries(parts: Sequence[Part]) -> tuple[Block, ...]:
    """How the entries of a dict observation become the flat one."""
    names = ", ".join(repr(part.name) for part in parts)
    return (
        Paragraph(
            "The entries of the dict observation stand in it one behind the other: "
            f"{', '.join(map(str, parts))}."
        ),
        Preformatted(
            f"parts = [numpy.ravel(entries[name]) for name in ({names},)]\n"
            'observation = numpy.concatenate(parts).astype("float32")'
        ),
    )


def deployment(artifact: Artifact, *, has_c: bool) -> tuple[Block, ...]:
    """For ONNX Runtime, C and Arduino.

    Args:
        artifact: to deploy.
        has_c: whether its C program lies beside it, in `c/`.
    """
    observation, *noise = artifact.network.signature.inputs
    parts = artifact.network.observation_parts
    given = f'"{observation.name}": observation[None]'
    given += "".join(f', "{one.name}": noise[None]' for one in noise)
    shape = ", ".join(map(str, observation.shape))
    blocks: list[Block] = [
        Heading("How to deploy it"),
        Heading("ONNX Runtime", 3),
        Paragraph(
            f"Give it the raw observation, {observation.dtype} of the shape ({shape}); "
            "it gives the environment's action. Nothing else is needed."
        ),
        *(_entries(parts) if parts else ()),
        *(
            Paragraph(f"{name}: {note}.")
            for name, note in notes_on(artifact.manifest.source.env_kwargs).items()
        ),
        Preformatted(
            "import onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{MODEL_NAME}")\n'
            f"action = session.run(None, {{{given}}})[0][0]"
        ),
        Heading("C", 3),
    ]
    if not has_c:
        return (*blocks, Paragraph("C cannot hold this policy, so there is no program for it."))
    kind = "int32_t" if artifact.network.head.is_discrete else "float"
    return (
        *blocks,
        Paragraph(
            (
                Code("c/policy.c"),
                " allocates nothing and calls no library. This builds and tests it:",
            )
        ),
        Preformatted("cd c && cmake -B build && cmake --build build && ctest --test-dir build"),
        Preformatted(
            '#include "policy.h"\n\n'
            "float observation[POLICY_OBSERVATIONS];\n"
            f"{kind} action[POLICY_ACTIONS];\n"
            "policy_act(observation, action);"
        ),
        Heading("Arduino", 3),
        Paragraph(
            (
                "A sketch must lie in a folder of its own name. ",
                Code("policy_sketch.ino"),
                " asks the policy a hundred times a second; put your sensors where it says so.",
            )
        ),
        Preformatted(
            "mkdir policy_sketch && cp c/policy.c c/policy.h c/policy_sketch.ino policy_sketch/\n"
            "arduino-cli compile --fqbn arduino:mbed_nano:nano33ble policy_sketch\n"
            "arduino-cli upload --fqbn arduino:mbed_nano:nano33ble -p /dev/ttyACM0 policy_sketch"
        ),
    )
