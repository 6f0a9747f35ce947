from __future__ import annotations

from pathlib import Path

import pytest
from made_results import make_result
from PIL import Image

from squeezerl.errors import InvalidArgumentError
from squeezerl.report.squeeze_report import squeeze_json
from squeezerl.report.tracking import LOG, log_report, squeeze_scalars, study_scalars


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    Image.new("RGB", (8, 4)).save(tmp_path / "pareto.png")
    log_report(
        tmp_path, "run", squeeze_scalars(squeeze_json(make_result(), tmp_path)), "tensorboard"
    )
    found = reader.EventAccumulator(str(tmp_path / LOG)).Reload()
    sizes = [one.value for one in found.Scalars("candidates/weight_bytes")]
    assert sizes == [3850, 1850, 1350]
    (chosen,) = found.Scalars("chosen/retention")
    confirmation = make_result().confirmation
    assert confirmation is not None
    assert confirmation.retention.normalized is not None
    assert chosen.value == pytest.approx(confirmation.retention.normalized.estimate)
    (picture,) = found.Images("figures/pareto")
    assert (picture.width, picture.height) == (8, 4)


def test_a_study_has_the_mean_of_each_method_by_percentage(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "tables").mkdir()
    rows = "method,ratio,iqm\nptdq,,0.98\nl1,0.05,0.97\nl1,0.5,0.5\nl2,0.5,\n"
    (tmp_path / "tables/aggregates.csv").write_text(rows)
    assert study_scalars(tmp_path) == [
        ("iqm/ptdq", 0, 0.98),
        ("iqm/l1", 5, 0.97),
        ("iqm/l1", 50, 0.5),
    ]


def test_another_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="not one of tensorboard, wandb"):
        log_report(tmp_path, "run", [], "paper")
