"""Joules and memory of NVIDIA GPUs, from the driver's library NVML."""

from __future__ import annotations

import contextlib
import importlib
import os
import weakref
from collections.abc import Iterator
from typing import Any

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.meters.meter import METERS, EnergyMeter, never_falling

# What NVML returns for memory that the driver does not report (NVML_VALUE_NOT_AVAILABLE).
_NOT_AVAILABLE = 2**64 - 1


class NvmlMeter(EnergyMeter):
    """`nvmlDeviceGetTotalEnergyConsumption` (mJ) of one whole GPU: its board, memory included.

    Unless told otherwise, that of the GPU that torch sees first.
    """

    name = "nvml"
    reads = "NVIDIA GPU"
    on_gpu = True
    # The counter moves every 20 ms to 100 ms, so a window is off by 2 % at most.
    min_window_s = 5.0

    def __init__(self, device_index: int | None = None, nvml: Any = None) -> None:
        device_index = first_gpu() if device_index is None else device_index
        self._nvml = _opened(nvml)
        # Without a client the driver may unload, and the counter then starts again at 0: NVML
        # stays open as long as the meter lives.
        self._close = weakref.finalize(self, _shutdown, self._nvml)
        self._source = f"NVML's energy counter of GPU {device_index}"
        self._last_j = 0.0
        try:
            self._handle = _device(self._nvml, device_index)
            with _teaching(self._nvml, f"GPU {device_index} does not tell its name"):
                model = self._nvml.nvmlDeviceGetName(self._handle)
            # Old versions of the library return bytes.
            model = model.decode() if isinstance(model, bytes) else model
            self.description = f"NVML GPU {device_index}, whole board: {model}"
            self.read_j()
        except BaseException:
            self.close()
            raise

    def read_j(self) -> float:
        """Joules since the driver was loaded."""
        with _teaching(
            self._nvml,
            f"{self._source} cannot be read; GPUs older than Volta, and parts of a GPU given to a "
            "virtual machine, have none. Use another meter",
        ):
            energy_mj = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        self._last_j = never_falling(self._source, self._last_j, energy_mj / 1e3)
        return self._last_j

    def close(self) -> None:
        """Let NVML go; the meter cannot be read any more."""
        self._close()


def first_gpu() -> int:
    """The GPU that torch sees first, by NVML's number, which ignores CUDA_VISIBLE_DEVICES.

    Raises:
        MeasurementError: if CUDA_VISIBLE_DEVICES does not name it by its number.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if not first.isdecimal():
        raise MeasurementError(
            f"CUDA_VISIBLE_DEVICES names the GPU {first!r}; give its number instead"
        )
    return int(first)


def gpu_process_memory_bytes(
    pid: int, device_index: int | None = None, nvml: Any = None
) -> int | None:
    """GPU memory of one process, its CUDA context included; `None` if the driver hides it.

    The driver hides it under Windows' WDDM, and in a container, where it knows the process by
    another number. Unless told otherwise, that of the GPU that torch sees first.
    """
    device_index = first_gpu() if device_index is None else device_index
    nvml = _opened(nvml)
    try:
        handle = _device(nvml, device_index)
        try:
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except nvml.NVMLError:
            return None
    finally:
        _shutdown(nvml)
    # A process has an entry for each part of a divided GPU.
    parts: list[int | None] = [process.usedGpuMemory for process in processes if process.pid == pid]
    told = [part for part in parts if part is not None and part != _NOT_AVAILABLE]
    return sum(told) if told and len(told) == len(parts) else None


def _opened(nvml: Any) -> Any:
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError as problem:
            raise MeasurementError(
                "NVIDIA GPUs are read with the package nvidia-ml-py, which is not installed: "
                "pip install nvidia-ml-py"
            ) from problem
    with _teaching(nvml, "No NVIDIA driver answers; install it, and check it with nvidia-smi"):
        nvml.nvmlInit()
    return nvml


def _device(nvml: Any, index: int) -> Any:
    with _teaching(nvml, "NVML cannot list the GPUs; check them with nvidia-smi"):
        count = nvml.nvmlDeviceGetCount()
    if count == 0:
        raise MeasurementError("NVML runs, but sees no GPU; check it with nvidia-smi.")
    if not 0 <= index < count:
        raise InvalidArgumentError(f"There is no GPU {index}: NVML counts {count}, from 0 up.")
    with _teaching(nvml, f"GPU {index} does not answer; check it with nvidia-smi"):
        return nvml.nvmlDeviceGetHandleByIndex(index)


@contextlib.contextmanager
def _teaching(nvml: Any, what: str) -> Iterator[None]:
    try:
        yield
    except nvml.NVMLError as problem:
        raise MeasurementError(f"{what} (NVML: {problem}).") from problem


def _shutdown(nvml: Any) -> None:
    # NVML counts its users, and closing it twice does no harm.
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlShutdown()


METERS.register(NvmlMeter.name, NvmlMeter)
