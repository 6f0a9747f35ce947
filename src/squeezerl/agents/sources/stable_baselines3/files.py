"""The files of an agent: the zip, which is read under limits, and rl-zoo's folders around it."""

from __future__ import annotations

import lzma
import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from squeezerl.agents.env_wrappers import read_setting
from squeezerl.agents.foreign import what_it_is
from squeezerl.errors import CheckpointError, SqueezeRLWarning, UnsupportedPolicyError
from squeezerl.records import ENV_WRAPPERS, FRAME_STACK

MAX_METADATA_BYTES = 64 * 2**20
MAX_WEIGHTS_BYTES = 512 * 2**20
# SB3 stores its members nearly uncompressed; deflate can expand a thousandfold.
_MAX_EXPANSION = 100
_MAX_YAML_BYTES = 2**20
_NORMALIZER_NAMES = ("vecnormalize.pkl", "vec_normalize.pkl")
_OTHER_NORMALIZERS = ("vec*norm*.pkl", "*normalize*.pkl")


@dataclass(frozen=True)
class AgentFiles:
    """A checkpoint and what stands beside it; absent things are `None`.

    Args:
        checkpoint: the zip.
        vecnormalize: its normaliser, by a name that is usual.
        others: what may be its normaliser, by other names.
        env_id: what the settings say of the environment.
        env_kwargs: what the settings say of its arguments, of stacked observations and of wrappers.
        normalized: whether the settings say that observations are normalised; `None` if they say
            nothing of it.
        is_own: the normaliser is named after the checkpoint.
    """

    checkpoint: Path
    vecnormalize: Path | None
    others: tuple[Path, ...]
    env_id: str | None
    env_kwargs: dict[str, Any]
    normalized: bool | None
    is_own: bool


class _InertLoader(yaml.SafeLoader):
    """Builds plain data only: tags that name Python objects become their bare contents."""


def _construct_untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        items = loader.construct_sequence(node, deep=True)
        # OrderedDict is written as a call with one list of pairs.
        is_pairs = suffix.endswith("OrderedDict") and len(items) == 1
        return {str(key): value for key, value in items[0]} if is_pairs else items
    return str(node.value)


_InertLoader.add_multi_constructor("tag:yaml.org,2002:python/", _construct_untagged)


def read_yaml(path: Path) -> dict[str, Any]:
    """A zoo YAML file as plain data; nothing is constructed, called or evaluated."""
    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise CheckpointError(f"{path}: larger than any zoo settings file should be")
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_InertLoader)
    except CheckpointError:
        raise
    except Exception as error:  # a hostile file can make the reader fail in any way
        raise CheckpointError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: does not hold settings")
    return data


def find_agent(path: Path) -> AgentFiles:
    """Locate the checkpoint at `path`, a zip or an rl-zoo folder such as `.../Hopper-v3_1`.

    Raises:
        CheckpointError: if there is none, or several and no way to choose.
    """
    try:
        if path.is_dir():
            checkpoint = _checkpoint_in(path)
        else:  # SB3's own load() takes the name without the ending, too
            zipped = path.with_name(f"{path.name}.zip")
            checkpoint = path if path.is_file() or not zipped.is_file() else zipped
        exists = checkpoint.is_file()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    if not exists:
        raise CheckpointError(
            f"{path}: no such file; give a Stable-Baselines3 .zip or an rl-zoo folder"
        )
    folders = [checkpoint.with_suffix(""), checkpoint.parent]
    others = _settings_folders(checkpoint.parent)
    if not folders[0].is_dir() and len(others) == 1:
        # best_model.zip stands beside the settings folder of its environment.
        folders[1:1] = others
    settings: dict[str, Any] = {}
    for folder in reversed(folders):
        for name in ("config.yml", "args.yml"):
            if (folder / name).is_file():
                settings |= read_yaml(folder / name)
    found = [folder / name for folder in folders for name in _NORMALIZER_NAMES]
    own = [checkpoint.parent / name for name in _own_names(checkpoint)]
    vecnormalize = next((file for file in (*own, *found) if file.is_file()), None)
    try:
        wrappers = read_setting(settings.get("env_wrapper"))
    except UnsupportedPolicyError as error:
        raise UnsupportedPolicyError(f"{checkpoint}: {error}") from error
    given, kwargs = settings.get("env_kwargs"), _plain_kwargs(settings.get("env_kwargs"))
    dropped = [str(key) for key in given if key not in kwargs] if isinstance(given, dict) else []
    dropped = [f"env_kwargs {', '.join(dropped):.80}"] if dropped else []
    if wrapper := settings.get("vec_env_wrapper"):
        dropped.append(f"vec_env_wrapper {wrapper!s:.80}")
    if dropped:
        warnings.warn(
            f"{checkpoint}: its settings have {' and '.join(dropped)}, which are not read, so the "
            "agent may have learned in another environment than it is evaluated in",
            SqueezeRLWarning,
            stacklevel=4,
        )
    env_id, stack = settings.get("env"), settings.get("frame_stack")
    if stack is not None and not (isinstance(stack, int) and stack >= 1):
        raise CheckpointError(f"{checkpoint}: its settings have the frame_stack {stack!r}")
    return AgentFiles(
        checkpoint,
        vecnormalize,
        () if vecnormalize else _other_normalizers(folders),
        env_id if isinstance(env_id, str) else None,
        kwargs
        | ({FRAME_STACK: stack} if stack else {})
        | ({ENV_WRAPPERS: wrappers} if wrappers else {}),
        _says_normalized(settings["normalize"]) if "normalize" in settings else None,
        vecnormalize in own,
    )


def _own_names(checkpoint: Path) -> list[str]:
    """Normalisers that are this checkpoint's alone, not those of the last one in its folder.

    `a_vecnormalize_5_steps.pkl` goes with `a_5_steps.zip`, as SB3's CheckpointCallback saves them,
    and `best_model_vecnormalize.pkl` with our own best model.
    """
    names = [f"{checkpoint.stem}_vecnormalize.pkl"]
    if match := re.fullmatch(r"(.+)_(\d+)_steps", checkpoint.stem):
        names.append(f"{match[1]}_vecnormalize_{match[2]}_steps.pkl")
    return names


def _other_normalizers(folders: list[Path]) -> tuple[Path, ...]:
    """Files in these folders that may be normalisers, without those of other checkpoints."""
    found = {
        file
        for folder in folders
        if folder.is_dir()
        for pattern in _OTHER_NORMALIZERS
        for file in folder.glob(pattern)
        if not re.fullmatch(r".+_vecnormalize_\d+_steps\.pkl", file.name)
        and not file.with_name(f"{file.stem.removesuffix('_vecnormalize')}.zip").is_file()
    }
    return tuple(sorted(found))


def _settings_folders(folder: Path) -> list[Path]:
    return sorted(sub for sub in folder.iterdir() if (sub / "config.yml").is_file())


def _checkpoint_in(folder: Path) -> Path:
    zips = sorted(folder.glob("*.zip"))
    env_name = folder.resolve().name.rpartition("_")[0]
    for zip_path in zips:
        if zip_path.stem == env_name:
            return zip_path
    if len(zips) == 1:
        return zips[0]
    # Beside best_model.zip and the like, the trained agent is the one that its settings name.
    named = [path for path in zips if (path.with_suffix("") / "config.yml").is_file()]
    if len(named) == 1:
        return named[0]
    if not zips and (folder / "manifest.json").is_file():
        raise CheckpointError(f"{folder}: an artifact, not an agent; see its manifest.json")
    if not zips:
        raise CheckpointError(f"{folder}: holds no .zip checkpoint")
    names = ", ".join(zip_path.name for zip_path in zips)
    raise CheckpointError(f"{folder}: holds several checkpoints ({names}); name the one you mean")


def _plain_kwargs(value: Any) -> dict[str, Any]:
    """The environment's arguments, if they are numbers, words and lists of them."""

    def is_scalar(item: Any) -> bool:
        return item is None or isinstance(item, bool | int | float | str)

    if not isinstance(value, dict):
        return {}
    return {
        key: item
        for key, item in value.items()
        if isinstance(key, str)
        and (is_scalar(item) or (isinstance(item, list) and all(map(is_scalar, item))))
    }


def _says_normalized(value: Any) -> bool:
    """Whether `normalize` asks for observations, in any form of the zoo's, never evaluated."""
    if isinstance(value, str):
        compact = value.replace(" ", "").replace("'", "").replace('"', "").replace(":", "=")
        return compact.lower() != "false" and "norm_obs=False" not in compact
    if isinstance(value, dict):
        return bool(value.get("norm_obs", True))
    return bool(value)


class CheckpointArchive:
    """The members of a checkpoint zip, read one at a time under limits.

    Raises:
        CheckpointError: if the file is missing or not a sound zip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            found = what_it_is(path)
            raise CheckpointError(
                f"{path}: {found or f'not a readable zip ({error})'}; a Stable-Baselines3 "
                "checkpoint is a zip"
            ) from error

    def __contains__(self, name: str) -> bool:
        return name in self._zip.namelist()

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of one member of at most `limit` bytes."""
        if name not in self:
            raise CheckpointError(
                f"{self.path}: holds no {name!r}, so it is not a Stable-Baselines3 checkpoint; it "
                f"is {what_it_is(self.path)}"
            )
        info = self._zip.getinfo(name)
        if info.file_size > limit or info.file_size > _MAX_EXPANSION * (info.compress_size + 1024):
            raise CheckpointError(
                f"{self.path}: {name!r} claims to unpack from {info.compress_size:,} to "
                f"{info.file_size:,} bytes; refused as a possible zip bomb (limit {limit:,})"
            )
        try:
            return self._zip.read(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            NotImplementedError,
        ) as error:
            raise CheckpointError(f"{self.path}: {name!r} is damaged ({error})") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
