"""What every energy meter has to do; the tests of each meter inherit it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from squeezerl.errors import SqueezeRLError
from squeezerl.measurement.meters.choose import MeterConfig, open_meter
from squeezerl.measurement.meters.meter import METERS, EnergyMeter
from squeezerl.records import Host, to_json


class EnergyMeterContract(ABC):
    meter: type[EnergyMeter]

    @abstractmethod
    def host_with(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        """Turn this machine into one that has the meter, and give its facts."""

    @abstractmethod
    def host_without(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        """Turn this machine into one that lacks the meter, and give its facts."""

    @pytest.fixture
    def equipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        return self.host_with(tmp_path, monkeypatch)

    @pytest.fixture
    def bare(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
        return self.host_without(tmp_path, monkeypatch)

    def test_it_is_registered_under_its_name(self) -> None:
        assert METERS.get(self.meter.name) is self.meter

    def test_it_says_what_it_is(self) -> None:
        assert self.meter.reads
        for fact in ("estimated", "machine_wide", "automatic", "on_gpu"):
            assert isinstance(getattr(self.meter, fact), bool)
        assert self.meter.min_window_s > 0

    def test_where_it_is_available_it_says_what_it_adds_up(self, equipped: Host) -> None:
        status = self.meter.status(equipped)
        assert (status.name, status.available, status.problem) == (self.meter.name, True, None)
        assert len(status.description) > len("rapl ")
        assert json.dumps(to_json(status))

    def test_where_it_is_missing_it_says_why_and_what_to_do(self, bare: Host) -> None:
        status = self.meter.status(bare)
        assert (status.name, status.available) == (self.meter.name, False)
        assert status.description == self.meter.reads
        assert status.problem is not None
        assert len(status.problem) > 60
        with pytest.raises(SqueezeRLError):
            self.meter.settings_for(bare)

    def test_another_process_can_open_it_from_json(self, equipped: Host) -> None:
        config = MeterConfig(name=self.meter.name, settings=self.meter.settings_for(equipped))
        again = MeterConfig(**json.loads(json.dumps(to_json(config))))
        assert again == config
        meter = open_meter(again)
        assert type(meter) is self.meter
        assert meter.description == self.meter.status(equipped).description

    def test_joules_never_fall(self, equipped: Host) -> None:
        meter = self.meter(**self.meter.settings_for(equipped))
        readings = [meter.read_j() for _ in range(5)]
        assert readings == sorted(readings)
        assert all(isinstance(reading, float) for reading in readings)
