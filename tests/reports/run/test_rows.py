import pytest
from making import cell, pair, plan, run
from reports.samples import TYPICAL, of_units

from torchlap.reports.run.rows import judged, model_names
from torchlap.schema.workload import Group


def test_a_row_has_the_words_of_its_cell() -> None:
    first, fast, slow, _ = judged(TYPICAL).rows
    assert (first.throughput, first.speed_up, first.laps) == ("40.0 (39.6 to 40.4)", "", "8")
    assert (fast.speed_up, fast.device) == ("5.00x (4.96 to 5.04)", "cuda:0")
    assert (slow.throughput, slow.laps) == ("too slow: ~160 s/step", "")
    assert [row.throughput for row in judged(run()).rows] == ["not measured", "not measured"]


def test_the_rate_is_that_of_the_unit_or_of_items_if_a_run_mixes_units() -> None:
    assert judged(of_units("tokens", "tokens")).rate == "tokens/s"
    mixed = judged(of_units("images", "tokens"))
    assert mixed.rate == "items/s"
    assert [row.throughput for row in mixed.rows] == [
        "40.0 images/s (39.6 to 40.4)",
        "40.0 tokens/s (39.6 to 40.4)",
    ]


@pytest.mark.parametrize(
    ("model", "name"),
    [("resnet18", "resnet18"), ("/home/me/net.py:build", "net.py:build"), ("net.py:build", "net.py:build")],
)
def test_a_custom_model_is_named_without_its_folders(model: str, name: str) -> None:
    assert model_names(run([], plan(pair(model=model)))) == {model: name}


def test_two_custom_files_of_the_same_name_keep_their_folders() -> None:
    both = plan(*(Group((cell(model=f"{folder}/net.py:build"),)) for folder in ("old", "new")))
    assert [row.model for row in judged(run([], both)).rows] == ["old/net.py:build", "new/net.py:build"]
