from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_soc import FakeSoc
from meter_contract import EnergyMeterContract
from zeus.device.soc.apple import AppleSiliconMeasurement
from zeus.device.soc.common import EmptySoC
from zeus.device.soc.jetson import JetsonMeasurement

from made_profiles import HOST
from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters.soc import AppleMeter, JetsonMeter
from squeezerl.records import Host


class _ZeusContract(EnergyMeterContract):
    measurement: Any

    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setattr("zeus.device.soc.get_soc", lambda: FakeSoc(self.measurement))
        return HOST

    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setattr("zeus.device.soc.get_soc", EmptySoC)
        return HOST


class TestAppleMeter(_ZeusContract):
    meter = AppleMeter
    measurement = AppleSiliconMeasurement(cpu_total_mj=5)


class TestJetsonMeter(_ZeusContract):
    meter = JetsonMeter
    measurement = JetsonMeasurement(total_energy_mj=5.0)


def test_apples_parts_are_summed_once() -> None:
    whole = AppleSiliconMeasurement(
        cpu_total_mj=1_000,
        efficiency_cores_mj=[100, 100],
        performance_cores_mj=[300, 300],
        efficiency_cluster_mj=[250],
        performance_cluster_mj=[700],
        efficiency_core_manager_mj=20,
        performance_core_manager_mj=30,
        dram_mj=200,
        gpu_mj=40,
        gpu_sram_mj=5,
        ane_mj=3,
    )
    meter = AppleMeter(FakeSoc(whole))
    assert meter.read_j() == pytest.approx(1.248)
    assert meter.name == "zeus-apple"
    assert meter.description == "zeus-apple: cpu_total + gpu + gpu_sram + dram + ane"
    assert (meter.estimated, meter.machine_wide) == (False, True)


def test_a_field_that_is_not_reported_is_not_named() -> None:
    part = AppleSiliconMeasurement(cpu_total_mj=1_000, gpu_mj=0, ane_mj=None)
    meter = AppleMeter(FakeSoc(part))
    assert meter.description == "zeus-apple: cpu_total + gpu"
    assert meter.read_j() == 1.0


def test_a_jetsons_total_holds_its_parts() -> None:
    before = JetsonMeasurement(cpu_energy_mj=1.0, gpu_energy_mj=2.0, total_energy_mj=5.0)
    after = JetsonMeasurement(cpu_energy_mj=11.0, gpu_energy_mj=2.0, total_energy_mj=5_005.0)
    meter = JetsonMeter(FakeSoc(before, after))
    assert meter.read_j() == pytest.approx(5.005)
    assert (meter.name, meter.description) == ("zeus-jetson", "zeus-jetson: total")
    assert meter.min_window_s >= 5.0


def test_a_jetson_without_a_total_sums_what_it_reports() -> None:
    both = JetsonMeasurement(cpu_energy_mj=1_000.0, gpu_energy_mj=500.0)
    meter = JetsonMeter(FakeSoc(both))
    assert (meter.read_j(), meter.description) == (1.5, "zeus-jetson: cpu + gpu")
    meter = JetsonMeter(FakeSoc(JetsonMeasurement(cpu_energy_mj=1_000.0)))
    assert (meter.read_j(), meter.description) == (1.0, "zeus-jetson: cpu")


@pytest.mark.parametrize(
    "measurement",
    [
        AppleSiliconMeasurement(),
        AppleSiliconMeasurement(gpu_mj=5, dram_mj=5),
        JetsonMeasurement(),
        JetsonMeasurement(gpu_energy_mj=5.0),
    ],
)
def test_a_chip_that_does_not_report_its_processor_is_refused(measurement: Any) -> None:
    meter = AppleMeter if isinstance(measurement, AppleSiliconMeasurement) else JetsonMeter
    with pytest.raises(MeasurementError, match="does not report the energy of its processor"):
        meter(FakeSoc(measurement))


def test_the_wrong_chip_is_refused() -> None:
    apple = FakeSoc(AppleSiliconMeasurement(cpu_total_mj=5))
    with pytest.raises(MeasurementError, match="has zeus-apple, not zeus-jetson"):
        JetsonMeter(apple)


def test_a_field_that_is_not_reported_any_more_is_not_zero() -> None:
    before = AppleSiliconMeasurement(cpu_total_mj=1_000, gpu_mj=10)
    meter = AppleMeter(FakeSoc(before, AppleSiliconMeasurement(cpu_total_mj=1_100)))
    with pytest.raises(MeasurementError, match="not reported any more"):
        meter.read_j()


def test_a_sum_that_falls_is_refused() -> None:
    meter = AppleMeter(
        FakeSoc(
            AppleSiliconMeasurement(cpu_total_mj=1_000), AppleSiliconMeasurement(cpu_total_mj=10)
        )
    )
    with pytest.raises(MeasurementError, match="it was reset"):
        meter.read_j()


def test_no_chip_and_an_unknown_chip_are_refused() -> None:
    with pytest.raises(MeasurementError, match=r"No SoC is available.*zeus.show_env"):
        AppleMeter(EmptySoC())
    unknown: Any = object()
    with pytest.raises(MeasurementError, match="neither Apple silicon nor Jetson"):
        AppleMeter(FakeSoc(unknown))


def test_a_missing_library_teaches_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_zeus(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", without_zeus)
    with pytest.raises(MeasurementError, match=r"pip install 'zeus\[apple\]'"):
        AppleMeter()
