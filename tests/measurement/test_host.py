from __future__ import annotations

import json
import os
import platform

import numpy as np

from squeezerl import __version__
from squeezerl.measurement.host import host_facts
from squeezerl.records import to_json


def test_the_host_is_this_one() -> None:
    host = host_facts()
    assert host.cpu
    assert host.cores == os.cpu_count()
    assert host.python == platform.python_version()
    assert host.system.startswith(platform.system())
    assert host.memory_bytes is None or host.memory_bytes > 2**28


def test_libraries_are_the_installed_ones() -> None:
    libraries = host_facts().libraries
    assert libraries["squeezerl"] == __version__
    assert libraries["numpy"] == np.__version__
    assert {"torch", "onnx", "onnxruntime", "gymnasium"} <= libraries.keys()


def test_facts_are_the_same_again_and_turn_into_json() -> None:
    assert host_facts() == host_facts()
    data = json.loads(json.dumps(to_json(host_facts())))
    assert data["cores"] == os.cpu_count()
    assert data["libraries"] == host_facts().libraries
