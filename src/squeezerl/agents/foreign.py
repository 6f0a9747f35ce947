"""Says what a file is that is no checkpoint of a known kind, from its first bytes and its names."""

from __future__ import annotations

import zipfile
from pathlib import Path

_START = 512
# How files begin → what they are.
_BEGINNINGS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras's .h5"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: run git lfs pull"),
    (b"<", "a web page or XML, not a checkpoint: the download gave a page instead of the file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"(\xb5/\xfd", "a zstandard archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7fELF", "a compiled program or library"),
    (b"{", "JSON"),
)
# Ends of names in a zip → what it is; the first that fits counts.
_ZIPPED = (
    ("parameter_list", "a checkpoint of Stable Baselines 2 (TensorFlow); convert it to "
     "Stable-Baselines3"),
    ("model.weights.h5", "a Keras model (.keras)"),
    ("keras_metadata.pb", "a Keras model"),
    ("saved_model.pb", "a TensorFlow SavedModel"),
    ("rllib_checkpoint.json", "a checkpoint of RLlib"),
    (".zip", "an archive with other zips in it; unpack it first"),
    (".npy", "NumPy arrays (.npz)"),
)  # fmt: skip
# Files in a folder → what it is.
_FOLDERS = {
    "rllib_checkpoint.json": "a checkpoint of RLlib",
    "algorithm_state.pkl": "a checkpoint of RLlib",
    "saved_model.pb": "a TensorFlow SavedModel",
    "checkpoint": "checkpoints of TensorFlow",
    "_METADATA": "a checkpoint of Orbax (JAX)",
    "adapter_config.json": "a model of Transformers",
    "config.json": "a model of Transformers or another library of the Hugging Face hub",
}


def what_it_is(path: Path) -> str | None:
    """A few words on a file or folder, for example "an ONNX model"; `None` if unknown.

    Nothing in it is executed or unpacked.
    """
    if path.is_dir():
        return next((what for name, what in _FOLDERS.items() if (path / name).exists()), None)
    with path.open("rb") as file:
        start = file.read(_START)
    if not start:
        return "an empty file, so the download was cut short"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _what_is_zipped(path)
    for beginning, what in _BEGINNINGS:
        if start.lstrip(b"\r\n\t ").startswith(beginning):
            return what
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header <= path.stat().st_size:
        return "a safetensors file"
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        torch = b"torch" in start or b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19" in start
        return "a file of torch.save from before torch 1.6" if torch else "a pickle"
    # Its first field is the version, a small number; the producer, graph or opset follow.
    if len(start) > 2 and start[0] == 8 and start[1] < 32 and start[2] in b"\x12\x1a\x22\x3a\x42":
        return "an ONNX model"
    return None


def _what_is_zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # Where the end is gone, the end of a zip inside it can be taken for its own.
            broken = min((info.header_offset for info in archive.infolist()), default=0) > 0
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        broken = True
    if broken:
        return "a zip that breaks off, so the download was cut short"
    for end, what in _ZIPPED:
        if any(name.endswith(end) for name in names):
            return what
    shown = ", ".join(names[:5]) or "nothing"
    return f"a zip with {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
