from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from fake_sysfs import DRAM_RANGE_UJ, RANGE_UJ, add_zone, set_uj
from hypothesis import given, settings
from hypothesis import strategies as st
from meter_contract import EnergyMeterContract

from made_profiles import HOST
from squeezerl.errors import MeasurementError
from squeezerl.measurement.meters import rapl
from squeezerl.measurement.meters.rapl import RaplMeter
from squeezerl.records import Host


class TestRaplMeter(EnergyMeterContract):
    meter = RaplMeter

    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        add_zone(tmp_path, "intel-rapl:0", "package-0")
        return self.host_without(tmp_path, monkeypatch)

    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        monkeypatch.setattr(rapl, "POWERCAP", tmp_path)
        return HOST


def test_packages_and_their_dram_are_summed(tmp_path: Path) -> None:
    zones = [
        add_zone(tmp_path, "intel-rapl:0", "package-0", 100),
        add_zone(tmp_path, "intel-rapl:0:1", "dram", 200),
        add_zone(tmp_path, "intel-rapl:1", "package-1", 300),
        add_zone(tmp_path, "intel-rapl:1:1", "dram", 400),
    ]
    meter = RaplMeter(tmp_path)
    assert meter.description == "RAPL package-0, dram of package-0, package-1, dram of package-1"
    assert (meter.name, meter.estimated, meter.machine_wide) == ("rapl", False, True)
    assert meter.read_j() == 0.0
    for number, zone in enumerate(zones):
        set_uj(zone, 10 ** (number + 3) + (number + 1) * 100)
    assert meter.read_j() == pytest.approx(1.111)


def test_parts_of_a_package_and_second_views_of_it_do_not_count(tmp_path: Path) -> None:
    package = add_zone(tmp_path, "intel-rapl:0", "package-0")
    others = [
        add_zone(tmp_path, "intel-rapl:0:0", "core"),
        add_zone(tmp_path, "intel-rapl:0:1", "uncore"),
        add_zone(tmp_path, "intel-rapl:1", "psys"),
        add_zone(tmp_path, "intel-rapl:1:0", "dram"),
        add_zone(tmp_path, "intel-rapl-mmio:0", "package-0"),
        add_zone(tmp_path, "intel-rapl-mmio:0:0", "dram"),
        add_zone(tmp_path, "dtpm:0", "package-0"),
        add_zone(tmp_path / "intel-rapl", "intel-rapl:0", "package-0"),
    ]
    meter = RaplMeter(tmp_path)
    for other in others:
        set_uj(other, 50_000_000)
    assert meter.read_j() == 0.0
    set_uj(package, 2_000_000)
    assert meter.read_j() == 2.0
    assert meter.description == "RAPL package-0"


def test_packages_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        add_zone(tmp_path, f"intel-rapl:{number}", f"package-{number}")
    assert RaplMeter(tmp_path).description == "RAPL package-0, package-2, package-10"


def test_dies_that_mirror_their_package_count_once(tmp_path: Path) -> None:
    for die in range(2):
        add_zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 7_000)
    # The same figure, but of another processor.
    add_zone(tmp_path, "intel-rapl:2", "package-1-die-0", 7_000)
    assert RaplMeter(tmp_path).description == "RAPL package-0-die-0, package-1-die-0"


def test_dies_with_counters_of_their_own_all_count(tmp_path: Path) -> None:
    for die in range(2):
        add_zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 7_000 + die)
    assert RaplMeter(tmp_path).description == "RAPL package-0-die-0, package-0-die-1"


def test_each_counter_wraps_at_its_own_range(tmp_path: Path) -> None:
    package = add_zone(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 1_000_000)
    dram = add_zone(tmp_path, "intel-rapl:0:0", "dram", DRAM_RANGE_UJ - 500_000, DRAM_RANGE_UJ)
    meter = RaplMeter(tmp_path)
    set_uj(package, 2_000_000)
    assert meter.read_j() == pytest.approx(3.0)
    set_uj(dram, 250_000)
    assert meter.read_j() == pytest.approx(3.75)
    assert meter.read_j() == pytest.approx(3.75)


@settings(max_examples=60, deadline=None)
@given(
    range_uj=st.integers(1, RANGE_UJ),
    start=st.floats(0, 1, exclude_max=True),
    shares=st.lists(st.floats(0, 1, exclude_max=True), max_size=20),
)
def test_the_total_is_the_sum_of_the_increments(
    range_uj: int, start: float, shares: list[float]
) -> None:
    counter_uj = int(start * range_uj)
    increments_uj = [int(share * range_uj) for share in shares]
    with tempfile.TemporaryDirectory() as folder:
        zone = add_zone(Path(folder), "intel-rapl:0", "package-0", counter_uj, range_uj)
        meter = RaplMeter(Path(folder))
        readings = [meter.read_j()]
        for increment_uj in increments_uj:
            counter_uj = (counter_uj + increment_uj) % range_uj
            set_uj(zone, counter_uj)
            readings.append(meter.read_j())
    assert readings == sorted(readings)
    assert readings[-1] == sum(increments_uj) / 1e6


def test_without_rapl_the_error_says_what_to_do(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(MeasurementError, match=r"No RAPL package .* sudo modprobe"):
            RaplMeter(root)


def test_psys_alone_is_no_package(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "psys")
    with pytest.raises(MeasurementError, match="No RAPL package"):
        RaplMeter(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_for_root_only_teaches_the_chmod(tmp_path: Path) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    (zone / "energy_uj").chmod(stat.S_IWUSR)
    with pytest.raises(MeasurementError, match=r"sudo chmod a\+r .*/intel-rapl:\*/energy_uj"):
        RaplMeter(tmp_path)


def test_a_forbidden_counter_teaches_the_chmod_to_root_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    read_text = Path.read_text

    def forbidding(path: Path, encoding: str | None = None) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(path, encoding=encoding)

    monkeypatch.setattr(Path, "read_text", forbidding)
    command = f"sudo chmod a+r {tmp_path}/intel-rapl:*/energy_uj"
    with pytest.raises(MeasurementError) as raised:
        RaplMeter(tmp_path)
    assert str(raised.value).endswith(command)


@pytest.mark.parametrize(
    "content", ["", "garbage", "-5", "1.5", "0x10", "1 2", "9" * 30, "٣", str(RANGE_UJ + 1)]
)
def test_garbage_is_refused_at_the_start_and_later(tmp_path: Path, content: str) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = RaplMeter(tmp_path)
    (zone / "energy_uj").write_text(content, encoding="utf-8")
    with pytest.raises(MeasurementError, match="energy_uj"):
        meter.read_j()
    with pytest.raises(MeasurementError, match="energy_uj"):
        RaplMeter(tmp_path)


def test_a_counter_that_vanishes_is_no_zero(tmp_path: Path) -> None:
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = RaplMeter(tmp_path)
    (zone / "energy_uj").unlink()
    with pytest.raises(MeasurementError, match="cannot be read"):
        meter.read_j()
    (zone / "energy_uj").mkdir()
    with pytest.raises(MeasurementError, match="cannot be read"):
        meter.read_j()


def test_dram_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    dram = add_zone(tmp_path, "intel-rapl:0:0", "dram")
    (dram / "energy_uj").unlink()
    with pytest.raises(MeasurementError, match="intel-rapl:0:0"):
        RaplMeter(tmp_path)
