"""How an artifact is loaded into ONNX Runtime, by whoever does it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def make_session(
    model: bytes, *, threads: int, profile: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        model: the serialised ONNX policy.
        threads: that one operator may use.
        profile: beginning of the name of a file for ONNX Runtime's own profile, if wanted.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without VNNI instructions the fast int8 kernels saturate: other actions than elsewhere.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=False,  # which would print, and try the same again
    )
