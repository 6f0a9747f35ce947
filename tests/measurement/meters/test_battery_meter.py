from __future__ import annotations

from pathlib import Path

import pytest
from fake_sysfs import add_supply, set_words
from meter_contract import EnergyMeterContract

from made_profiles import HOST
from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters import battery
from squeezerl.measurement.meters.battery import BatteryMeter
from squeezerl.records import Host


def _battery(root: Path, name: str = "BAT0", **words: str | int) -> Path:
    return add_supply(root, name, "Battery", **{"status": "Discharging", "present": 1} | words)


class TestBatteryMeter(EnergyMeterContract):
    meter = BatteryMeter

    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        _battery(tmp_path, energy_now=1_000_000)
        return self.host_without(tmp_path, monkeypatch)

    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setattr(battery, "POWER_SUPPLY", tmp_path)
        return HOST


def test_energy_that_left_the_battery_becomes_joules(tmp_path: Path) -> None:
    battery = _battery(tmp_path, energy_now=50_000_000)
    meter = BatteryMeter(tmp_path)
    assert meter.read_j() == 0.0
    # 10 mWh are 36 J.
    set_words(battery, energy_now=49_990_000)
    assert meter.read_j() == pytest.approx(36.0)
    assert meter.description == "fall of the battery charge: BAT0 (energy)"
    assert (meter.name, meter.estimated, meter.machine_wide) == ("battery", False, True)
    assert meter.min_window_s >= 60


def test_charge_leaves_at_the_mean_voltage(tmp_path: Path) -> None:
    battery = _battery(
        tmp_path, charge_now=3_000_000, voltage_now=12_000_000, voltage_min_design=1_000_000
    )
    meter = BatteryMeter(tmp_path)
    set_words(battery, charge_now=2_999_000, voltage_now=11_000_000)
    # 1 mAh at 11.5 V.
    assert meter.read_j() == pytest.approx(3.6 * 11.5)
    set_words(battery, charge_now=2_998_000)
    assert meter.read_j() == pytest.approx(3.6 * 11.5 + 3.6 * 11.0)
    assert "BAT0 (charge x voltage)" in meter.description


def test_a_voltage_that_sags_is_not_energy(tmp_path: Path) -> None:
    battery = _battery(tmp_path, charge_now=3_000_000, voltage_now=12_000_000)
    meter = BatteryMeter(tmp_path)
    set_words(battery, voltage_now=10_000_000)
    assert meter.read_j() == 0.0


def test_energy_is_preferred_to_charge(tmp_path: Path) -> None:
    _battery(tmp_path, energy_now=1_000_000, charge_now=1_000_000, voltage_now=12_000_000)
    assert "(energy)" in BatteryMeter(tmp_path).description


def test_a_gauge_that_jitters_upwards_never_makes_the_joules_fall(tmp_path: Path) -> None:
    battery = _battery(tmp_path, energy_now=1_000_000)
    meter = BatteryMeter(tmp_path)
    readings = []
    for left in (990_000, 995_000, 990_000, 991_000, 980_000):
        set_words(battery, energy_now=left)
        readings.append(meter.read_j())
    assert readings == pytest.approx([36.0, 36.0, 36.0, 36.0, 72.0])


def test_two_batteries_are_summed_though_one_rests(tmp_path: Path) -> None:
    first = _battery(tmp_path, "BAT0", energy_now=1_000_000)
    second = _battery(tmp_path, "BAT1", energy_now=2_000_000, status="Not charging")
    meter = BatteryMeter(tmp_path)
    set_words(first, energy_now=990_000, status="Not charging")
    set_words(second, energy_now=1_980_000, status="Discharging")
    assert meter.read_j() == pytest.approx(36.0 + 72.0)
    assert meter.description == "fall of the battery charge: BAT0 (energy), BAT1 (energy)"


def test_a_mouse_is_not_the_machine(tmp_path: Path) -> None:
    _battery(tmp_path, energy_now=1_000_000)
    _battery(tmp_path, "hidpp_battery_0", scope="Device", energy_now=5, status="Charging")
    add_supply(tmp_path, "wacom_ac_0", "Mains", scope="Device", online=1)
    _battery(tmp_path, "BAT1", present=0, status="Unknown")
    assert BatteryMeter(tmp_path).description == "fall of the battery charge: BAT0 (energy)"


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_a_battery_that_does_not_discharge_is_refused(tmp_path: Path, status: str) -> None:
    _battery(tmp_path, energy_now=1_000_000, status=status)
    with pytest.raises(MeasurementError, match="Unplug the charger"):
        BatteryMeter(tmp_path)


@pytest.mark.parametrize("kind", ["Mains", "USB"])
def test_a_charger_too_weak_to_charge_is_refused(tmp_path: Path, kind: str) -> None:
    _battery(tmp_path, energy_now=1_000_000)
    charger = add_supply(tmp_path, "AC", kind, online=1)
    with pytest.raises(MeasurementError, match="AC is plugged in"):
        BatteryMeter(tmp_path)
    set_words(charger, online=0)
    BatteryMeter(tmp_path)


def test_charging_between_two_reads_is_noticed(tmp_path: Path) -> None:
    first = _battery(tmp_path, "BAT0", energy_now=1_000_000)
    _battery(tmp_path, "BAT1", energy_now=1_000_000)
    meter = BatteryMeter(tmp_path)
    set_words(first, status="Charging")
    with pytest.raises(MeasurementError, match="BAT0 is charging"):
        meter.read_j()


def test_a_battery_put_in_between_two_reads_is_noticed(tmp_path: Path) -> None:
    _battery(tmp_path, "BAT0", energy_now=1_000_000)
    meter = BatteryMeter(tmp_path)
    _battery(tmp_path, "BAT1", energy_now=1_000_000)
    with pytest.raises(MeasurementError, match="put in or taken out"):
        meter.read_j()


def test_no_battery_and_one_that_tells_only_per_cent_are_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(MeasurementError, match="No battery"):
            BatteryMeter(root)
    _battery(tmp_path, capacity=80)
    with pytest.raises(MeasurementError, match="neither energy_now nor charge_now"):
        BatteryMeter(tmp_path)


def test_garbage_and_vanishing_files_are_refused(tmp_path: Path) -> None:
    battery = _battery(tmp_path, energy_now=1_000_000)
    meter = BatteryMeter(tmp_path)
    set_words(battery, energy_now="-1")
    with pytest.raises(MeasurementError, match="not a whole number"):
        meter.read_j()
    (battery / "energy_now").write_bytes(b"\xff")
    with pytest.raises(MeasurementError, match="does not hold text"):
        meter.read_j()
    (battery / "energy_now").unlink()
    with pytest.raises(MeasurementError, match="cannot be read"):
        meter.read_j()
    (battery / "status").unlink()
    with pytest.raises(MeasurementError, match="cannot be read"):
        meter.read_j()
