from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.meters.cpu_time import rated_watts_per_core


# Names as Linux prints them in /proc/cpuinfo; watts and cores as the makers' data sheets have them.
@pytest.mark.parametrize(
    ("model", "watts", "cores"),
    [
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", 95, 6),
        ("AMD Ryzen 7 5800X 8-Core Processor", 105, 8),
        ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", 150, 20),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120, 14),
        ("11th Gen Intel(R) Core(TM) i7-11700K @ 3.60GHz", 125, 8),
        ("13th Gen Intel(R) Core(TM) i7-13700E", 65, 16),
        ("AMD EPYC 7763 64-Core Processor", 280, 64),
        ("AMD Ryzen 7 5700G with Radeon Graphics", 65, 8),
        ("AMD Ryzen 7 7840U w/ Radeon  780M Graphics", 28, 8),
        ("AMD Ryzen 7 1700 Eight-Core Processor", 65, 8),
        ("AMD Ryzen Threadripper 3970X 32-Core Processor", 280, 32),
        ("AMD FX(tm)-8350 Eight-Core Processor            ", 125, 8),
        ("AMD Ryzen 7 5800 8-Core Processor", 65, 8),
    ],
)
def test_the_real_table_has_real_names(model: str, watts: float, cores: int) -> None:
    per_core, how = rated_watts_per_core(model, cores, virtual_machine=False)
    assert per_core == watts / cores
    assert how.startswith(f"rated {watts} W of the {model} over {cores} cores, CodeCarbon ")


@pytest.mark.parametrize(
    "model",
    [
        "Intel(R) Core(TM) i7-8700 Kaby CPU @ 3.70GHz",
        "AMD EPYC",
        "AMD EPYC 7763X 64-Core Processor",
        "Intel Xeon Processor (Skylake, IBRS)",
        "Intel(R) Core(TM) i7-8700KK CPU @ 3.70GHz",
        "QEMU Virtual CPU version 2.5+",
        # The name of a core's design, though the table has it.
        "ARMv8 Processor rev 0 (v8l)",
        "Cortex-A72",
        "",
    ],
)
def test_no_model_is_guessed(model: str) -> None:
    with pytest.raises(MeasurementError, match=r"is not in CodeCarbon's table.*--watts-per-core"):
        rated_watts_per_core(model, 4, virtual_machine=False)


@pytest.mark.parametrize(
    "model",
    [
        "Intel(R) Celeron(R) CPU 1200",  # 29.32.9
        "Intel Quark Microcontroller D1000",  # 0.0
        "Intel(R) Atom(TM) CPU E665CT @ 1.30GHz",  # 3.6 and 7
    ],
)
def test_a_damaged_or_double_row_is_not_believed(model: str) -> None:
    with pytest.raises(MeasurementError, match=r"is unclear \(.*--watts-per-core"):
        rated_watts_per_core(model, 1, virtual_machine=False)


def test_without_the_number_of_cores_nothing_is_divided() -> None:
    model = "AMD Ryzen 7 5800X 8-Core Processor"
    with pytest.raises(MeasurementError, match=r"virtual machine.*--watts-per-core"):
        rated_watts_per_core(model, 8, virtual_machine=True)
    with pytest.raises(MeasurementError, match=r"cores .* is unknown.*--watts-per-core"):
        rated_watts_per_core(model, None, virtual_machine=False)
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        rated_watts_per_core(model, 0, virtual_machine=False)


def test_without_codecarbon_the_error_teaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    for spec in (None, empty):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, spec=spec: spec)
        with pytest.raises(MeasurementError, match=r"pip install 'codecarbon>=3'"):
            rated_watts_per_core("AMD Ryzen 7 5800X", 8, virtual_machine=False)


def test_codecarbon_is_not_imported() -> None:
    code = (
        "import sys; from squeezerl.measurement.meters.cpu_time import rated_watts_per_core;"
        "rated_watts_per_core('AMD EPYC 7763', 64, virtual_machine=False);"
        "sys.exit(any(name in sys.modules for name in ('codecarbon', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
