"""Facts about the machine that a figure comes from."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from squeezerl.records import Host

_LIBRARIES = (
    *("squeezerl", "numpy", "torch", "onnx", "onnxruntime", "torch-pruning", "gymnasium"),
    *("mujoco", "envpool", "stable-baselines3", "sb3-contrib"),
    *("psutil", "nvidia-ml-py", "zeus", "codecarbon"),
)
# The instructions that decide which kernels run, on x86 and on ARM.
_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"),
    *("neon", "asimd", "asimddp", "i8mm", "sve", "bf16"),
)
_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def host_facts() -> Host:
    """This host, as far as it can be told without special rights."""
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    processors = _processors()
    cpuinfo = processors[0] if processors else {}
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    process = psutil.Process()
    cores = psutil.cpu_count() or 1
    return Host(
        cpu=_cpu(cpuinfo),
        cpu_flags=tuple(flag for flag in _FLAGS if flag in flags),
        cores=cores,
        cores_available=(
            len(process.cpu_affinity() or ()) if hasattr(process, "cpu_affinity") else cores
        ),
        physical_cores=psutil.cpu_count(logical=False),
        sockets=len({p["physical id"] for p in processors if "physical id" in p}) or None,
        governor=_read(_GOVERNOR),
        # x86 tells its guests so; elsewhere it is not known.
        virtual_machine="hypervisor" in flags if "sse2" in flags else None,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        kernel=platform.release(),
        python=platform.python_version(),
        libraries=libraries,
        load=psutil.getloadavg()[0] if hasattr(psutil, "getloadavg") else None,
    )


def _cpu(cpuinfo: dict[str, str]) -> str:
    """The processor's name; on ARM boards, which have none, that of the board."""
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    else:
        told = cpuinfo.get("model name") or (_read(_BOARD) or "").rstrip("\0")
    return told or platform.processor() or platform.machine()


def _processors() -> list[dict[str, str]]:
    """The entries of each logical processor, where Linux tells them."""
    processors = []
    for block in (_read(_CPUINFO) or "").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        if entries := {key.strip(): value.strip() for key, colon, value in pairs if colon}:
            processors.append(entries)
    return processors


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
