from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nvml import FakeNvml
from fake_soc import FakeSoc
from fake_sysfs import add_supply, add_zone
from zeus.device.soc.apple import AppleSiliconMeasurement
from zeus.device.soc.common import EmptySoC

from made_profiles import HOST
from squeezerl.errors import InvalidArgumentError, MeasurementError
from squeezerl.host.facts import host_facts
from squeezerl.measurement.meters import battery, rapl
from squeezerl.measurement.meters.choose import (
    MeterConfig,
    choose_gpu_meter,
    choose_meter,
    energy_choices,
    open_meter,
    sensor_statuses,
)
from squeezerl.measurement.meters.meter import METERS
from squeezerl.registry import load_plugin

KNOWN = dataclasses.replace(
    HOST, cpu="Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", physical_cores=40, sockets=2
)


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any sensor."""
    monkeypatch.setattr(rapl, "POWERCAP", tmp_path / "powercap")
    monkeypatch.setattr(battery, "POWER_SUPPLY", tmp_path / "supply")
    monkeypatch.setattr("zeus.device.soc.get_soc", EmptySoC)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus=0))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def full(bare: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has every sensor that can be in one machine."""
    add_zone(tmp_path / "powercap", "intel-rapl:0", "package-0")
    add_supply(tmp_path / "supply", "BAT0", "Battery", status="Discharging", energy_now=1_000_000)
    chip = FakeSoc(AppleSiliconMeasurement(cpu_total_mj=5))
    monkeypatch.setattr("zeus.device.soc.get_soc", lambda: chip)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())


def test_watts_that_are_given_make_an_estimate() -> None:
    config, problem = choose_meter(HOST, watts_per_core=4.5)
    assert config == MeterConfig(name="cpu-time", settings={"watts_per_core": 4.5, "how": "given"})
    assert problem is None


def test_without_a_sensor_the_rated_power_makes_an_estimate() -> None:
    config, problem = choose_meter(KNOWN)
    assert config is not None
    assert config.settings["watts_per_core"] == pytest.approx(150 / 20)
    assert problem is None


def test_without_sensor_and_rating_there_is_none_and_a_reason() -> None:
    guest = dataclasses.replace(KNOWN, virtual_machine=True)
    config, problem = choose_meter(guest)
    assert config is None
    assert problem is not None
    assert "--watts-per-core" in problem
    with pytest.raises(MeasurementError, match="--watts-per-core"):
        choose_meter(guest, energy="cpu-time")


@pytest.mark.usefixtures("full")
def test_a_sensor_is_taken_before_any_estimate() -> None:
    config, problem = choose_meter(KNOWN)
    assert config == MeterConfig(name="rapl")
    assert problem is None
    given, _ = choose_meter(KNOWN, watts_per_core=3.0)
    assert given is not None
    assert given.name == "cpu-time"


@pytest.mark.usefixtures("full")
def test_the_sensor_nearest_to_the_processor_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = dataclasses.replace(KNOWN, virtual_machine=True)  # has no estimate
    names = []
    for take_away in (
        lambda: None,
        lambda: monkeypatch.setattr(rapl, "POWERCAP", tmp_path / "missing"),
        lambda: monkeypatch.setattr("zeus.device.soc.get_soc", EmptySoC),
    ):
        take_away()
        config, _ = choose_meter(guest)
        names.append(config and config.name)
    # The battery needs minutes for each policy, so only those get it who ask for it.
    assert names == ["rapl", "zeus-apple", None]
    assert choose_meter(guest, energy="battery")[0] == MeterConfig(name="battery")


def test_nothing_is_measured_if_nothing_is_asked_for() -> None:
    assert choose_meter(KNOWN, energy="none") == (None, "not asked for")


@pytest.mark.parametrize("name", ["rapl", "zeus-apple", "zeus-jetson", "battery"])
def test_a_meter_that_is_asked_for_must_be_there(name: str) -> None:
    with pytest.raises(MeasurementError):
        choose_meter(HOST, energy=name)
    with pytest.raises(MeasurementError):
        open_meter(MeterConfig(name=name))


@pytest.mark.parametrize(
    ("energy", "watts", "message"),
    [
        ("solar", None, "'solar' is not one of auto, none, rapl"),
        ("nvml", None, "'nvml' is not one of auto, none, rapl"),
        ("rapl", 4.0, "for the estimate from CPU time only"),
        ("none", 4.0, "for the estimate from CPU time only"),
        ("auto", 0.0, "watts_per_core"),
        ("auto", float("nan"), "watts_per_core"),
    ],
)
def test_choices_that_make_no_sense(energy: str, watts: float | None, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        choose_meter(HOST, energy=energy, watts_per_core=watts)


def test_a_meter_that_nobody_knows_cannot_be_opened() -> None:
    with pytest.raises(InvalidArgumentError, match="unknown energy meter 'geiger'"):
        open_meter(MeterConfig(name="geiger"))


@pytest.mark.parametrize("watts", ["4.4", -1, 1e9])
def test_bad_watts_in_a_config_are_refused(watts: object) -> None:
    config = MeterConfig(name="cpu-time", settings={"watts_per_core": watts, "how": "given"})
    with pytest.raises(InvalidArgumentError, match="watts_per_core"):
        open_meter(config)


def test_the_gpu_is_the_one_that_torch_sees_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus=3))
    for visible, expected in (("0", 0), ("2,0", 2), ("1", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        config, problem = choose_gpu_meter(HOST)
        assert config is not None
        assert problem is None
        assert f"GPU {expected}" in open_meter(config).description


@pytest.mark.parametrize("visible", ["GPU-8932f937", "7"])
def test_without_the_gpu_there_is_a_reason(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    config, problem = choose_gpu_meter(HOST)
    assert config is None
    assert problem is not None
    assert visible in problem


def test_a_machine_without_sensors_has_none() -> None:
    statuses = sensor_statuses(HOST)
    assert [status.available for status in statuses] == [False] * 5
    assert all(status.problem for status in statuses)


@pytest.mark.usefixtures("full")
def test_a_machine_with_sensors_says_what_each_adds_up() -> None:
    statuses = sensor_statuses(HOST)
    assert [status.name for status in statuses if status.available] == [
        "rapl",
        "zeus-apple",
        "nvml",
        "battery",
    ]
    assert all(status.available == (status.problem is None) for status in statuses)
    assert statuses[0].description == "RAPL package-0"
    assert sys.modules["pynvml"].opened == 0


def test_the_sensors_of_this_machine_are_examined_without_raising(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    host = host_facts()
    statuses = sensor_statuses(host)
    for status in statuses:
        assert status.name in METERS
        assert status.description
        assert status.available == (status.problem is None)
        # What is missing, and then what to do.
        assert status.problem is None or len(status.problem) > 60
    there = [s.name for s in statuses if s.available and METERS.get(s.name).automatic]
    chosen, _ = choose_meter(host)
    assert (chosen.name if chosen else None) in (there or (None, "cpu-time"))


PLUGIN = """
from squeezerl.measurement.meters.meter import METERS, EnergyMeter

class WallPlugMeter(EnergyMeter):
    name = "wall-plug"
    reads = "the wall plug"
    min_window_s = 0.1
    description = "a smart plug"

    def __init__(self):
        self.joules = 0.0

    def read_j(self):
        self.joules += 1.0
        return self.joules

METERS.register(WallPlugMeter.name, WallPlugMeter)
"""


@pytest.mark.usefixtures("full")
def test_a_meter_of_a_plugin_is_used_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wall_plug.py").write_text(PLUGIN)
    monkeypatch.setenv("SQUEEZERL_PLUGINS", "")
    monkeypatch.setattr(METERS, "_things", {meter.name: meter for meter in METERS})
    load_plugin(tmp_path / "wall_plug.py")
    assert "wall-plug" in energy_choices()
    assert choose_meter(HOST)[0] == MeterConfig(name="rapl")
    config, _ = choose_meter(HOST, energy="wall-plug")
    assert config == MeterConfig(name="wall-plug")
    assert open_meter(config).read_j() == 1.0
    assert sensor_statuses(HOST)[0].description == "a smart plug"  # it needs the shortest window
    # A process that this one starts knows it, too.
    code = (
        "from squeezerl.measurement.meters.choose import MeterConfig, open_meter;"
        "print(open_meter(MeterConfig(name='wall-plug')).description)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "a smart plug"


def test_the_room_is_cheap_to_import() -> None:
    heavy = ("zeus", "pynvml", "torch", "pandas", "numpy", "codecarbon")
    code = (
        "import sys; from squeezerl.measurement.meters.meter import METERS; list(METERS);"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""
