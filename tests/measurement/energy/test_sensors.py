from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import FakeNvml
from fake_soc import FakeSoc
from fake_sysfs import add_supply, add_zone
from zeus.device.soc.apple import AppleSiliconMeasurement
from zeus.device.soc.common import EmptySoC

from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.measurement.energy.config import METER_NAMES, MeterConfig
from squeezerl.measurement.energy.meter import EnergyMeter
from squeezerl.measurement.energy.sensors import (
    SensorSources,
    best_cpu_meter,
    open_meter,
    sensor_statuses,
)
from squeezerl.records import to_json


def _bare(root: Path) -> SensorSources:
    nvml = FakeNvml()
    nvml.driver = False
    return SensorSources(
        powercap=root / "powercap", power_supply=root / "supply", nvml=nvml, soc=EmptySoC()
    )


def _full(root: Path) -> SensorSources:
    add_zone(root / "powercap", "intel-rapl:0", "package-0")
    add_supply(root / "supply", "BAT0", "Battery", status="Discharging", energy_now=1_000_000)
    return SensorSources(
        powercap=root / "powercap",
        power_supply=root / "supply",
        nvml=FakeNvml(),
        soc=FakeSoc(AppleSiliconMeasurement(cpu_total_mj=5)),
    )


def test_this_machines_sensors_are_told_without_raising() -> None:
    statuses = sensor_statuses()
    assert [status.name.partition("-")[0] for status in statuses] == [
        "rapl",
        "zeus",
        "nvml",
        "battery",
    ]
    for status in statuses:
        assert status.name in METER_NAMES
        assert status.description
        assert status.available == (status.problem is None)
        # What is missing, and then what to do.
        assert status.problem is None or len(status.problem) > 60
    for_cpu = [status.name for status in statuses if status.available and status.name != "nvml"]
    best = best_cpu_meter()
    assert (best.name if best else None) == (for_cpu[0] if for_cpu else None)


def test_a_machine_without_sensors_has_none(tmp_path: Path) -> None:
    statuses = sensor_statuses(_bare(tmp_path))
    assert [status.available for status in statuses] == [False] * 4
    assert all(status.problem for status in statuses)
    assert best_cpu_meter(_bare(tmp_path)) is None


def test_a_machine_with_all_sensors_says_what_each_sums(tmp_path: Path) -> None:
    sources = _full(tmp_path)
    statuses = sensor_statuses(sources)
    assert [status.name for status in statuses] == ["rapl", "zeus-apple", "nvml", "battery"]
    assert all(status.available and status.problem is None for status in statuses)
    assert statuses[0].description == "RAPL package-0"
    assert sources.nvml.opened == 0
    assert json.dumps(to_json(statuses))


def test_the_sensor_nearest_to_the_processor_is_best(tmp_path: Path) -> None:
    full = _full(tmp_path)
    missing = tmp_path / "missing"
    names = []
    for sources in (
        full,
        SensorSources(powercap=missing, power_supply=full.power_supply, soc=full.soc),
        SensorSources(powercap=missing, power_supply=full.power_supply, soc=EmptySoC()),
    ):
        meter = best_cpu_meter(sources)
        names.append(meter.name if meter else None)
    assert names == ["rapl", "zeus-apple", None]  # the battery takes minutes: on request only


def test_a_meter_opens_from_its_json(tmp_path: Path) -> None:
    sources = _full(tmp_path)
    configs = [MeterConfig(name=name) for name in ("rapl", "zeus-apple", "nvml", "battery")]
    for config in (*configs, MeterConfig(name="cpu-time", watts_per_core=4.4, how="given")):
        again = MeterConfig.from_json(json.loads(json.dumps(to_json(config))))
        assert again == config
        meter: EnergyMeter = open_meter(again, sources)
        assert meter.name == config.name
        assert meter.read_j() <= meter.read_j()
    assert MeterConfig.from_json({"name": "rapl"}) == MeterConfig(name="rapl")


def test_the_gpu_is_chosen(tmp_path: Path) -> None:
    sources = SensorSources(nvml=FakeNvml(gpus=2))
    assert "GPU 1" in open_meter(MeterConfig(name="nvml", gpu_index=1), sources).description


def test_the_wrong_chip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="has zeus-apple, not zeus-jetson"):
        open_meter(MeterConfig(name="zeus-jetson"), _full(tmp_path))


def test_a_missing_sensor_is_refused(tmp_path: Path) -> None:
    for name in ("rapl", "zeus-apple", "nvml", "battery"):
        with pytest.raises(MeasurementError):
            open_meter(MeterConfig(name=name), _bare(tmp_path))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": "geiger"},
        {"name": "rapl", "volts": 3},
        {"name": "rapl", "watts_per_core": 4.4, "how": "given"},
        {"name": "rapl", "gpu_index": 1},
        {"name": "cpu-time"},
        {"name": "cpu-time", "watts_per_core": 4.4},
        {"name": "cpu-time", "how": "given"},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        MeterConfig.from_json(data)


@pytest.mark.parametrize("watts", ["4.4", -1, 1e9])
def test_bad_watts_in_a_config_are_refused(watts: Any) -> None:
    config = MeterConfig.from_json({"name": "cpu-time", "watts_per_core": watts, "how": "given"})
    with pytest.raises(InvalidArgumentError, match="watts_per_core"):
        open_meter(config)


def test_the_room_is_cheap_to_import() -> None:
    heavy = ("zeus", "pynvml", "torch", "pandas", "numpy", "codecarbon")
    code = (
        "import sys; import squeezerl.measurement.energy.sensors;"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""
