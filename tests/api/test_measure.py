"""`torchlap.measure`: the names of the command line, checked before anything is written."""

from pathlib import Path
from typing import Any

import pytest
from support import ROOT, own
from torch import nn, rand
from virtual import Clock

import torchlap
from torchlap.api import run as run_of
from torchlap.api.given import options_of
from torchlap.errors import UsageError
from torchlap.schema.arm import Arm
from torchlap.schema.recipe import parse_recipe


def test_keyword_arguments_are_those_of_the_command_line(tmp_path: Path) -> None:
    given = {"devices": "cuda:0", "budget": "30s", "phase": "train,eval", "recipe": "fp32,bf16", "out": str(tmp_path)}
    assert options_of(("resnet18",), 64, given) == torchlap.Options(
        models=("resnet18",),
        batches=(64,),
        devices="cuda:0",
        budget_seconds=30.0,
        phases=("train", "eval"),
        recipes=(parse_recipe("fp32"), parse_recipe("bf16")),
        out=tmp_path,
    )


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("resnet18", "64"), {}, "Invalid batch '64'"),
        (("resnet18", 0), {}, "Invalid batch size 0"),
        (("resnet18", 4), {"budget": "soon"}, "Invalid budget 'soon'"),
        (("resnet18", 4), {"budget": -1}, "Invalid budget -1"),
        (("resnet18", 4), {"verify": "yes"}, "Invalid verify 'yes'"),
        (("resnet18", 4), {"device": "cpu"}, "no argument 'device'"),
        (("resnet18", 4), {"phase": "test"}, "Invalid phase 'test'"),
        (("resnet18", 4), {"data": "cifar"}, "Invalid data 'cifar'"),
        (("resnet18", 4), {"arms": "a,b"}, "Invalid arms 'a,b'"),
        (("resnet18", 4), {"arms": ["a"]}, "nothing to compare with"),
        (("resnet18", 4), {"arms": ["a", "b=c"]}, "Invalid arm 'b=c'"),
        (("resnet18", 4), {"against": 3}, "Invalid against 3"),
        (("resnet18", 4, nn.MSELoss()), {}, "Only a module"),
        (("resnet18", 4), {"items": "4"}, "Invalid items '4'"),
        (("resnet18", 4), {"unit": 4}, "Invalid unit 4"),
        (("resnet18", 4), {"listener": 3}, "Invalid listener 3"),
        (("resnet18", 4), {"listener": torchlap.Listener(event=3)}, "Invalid listener"),  # type: ignore[arg-type]
        (("resnet18", 4), {"hang_seconds": -1.0}, "Invalid hang_seconds"),
        (("resnet18", 4), {"hang_seconds": float("nan")}, "Invalid hang_seconds"),
        (("hf:gpt2", 4), {"seq": 0}, "Invalid seq 0"),
        (("resnet18", 4), {"isolate": None}, "Invalid isolate None"),
        (("resnet18", 4), {"out": 3}, "Invalid out 3"),
        ((3.5, 4), {}, "Cannot measure an object of type float"),
        ((nn.Linear(2, 2), 4), {}, "A module needs its batch"),
        ((torchlap.Options(models=("resnet18",), batches=("4",)),), {}, "Invalid batches"),  # type: ignore[arg-type]
        ((torchlap.Options(arms=(Arm("a"), Arm("a"))),), {}, "Two arms are named 'a'"),
        ((torchlap.Options(arms=(Arm("a"), Arm(""))),), {}, "An arm has no name"),
        ((torchlap.Options(), 4), {}, "Options cannot be combined"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    with pytest.raises(UsageError, match=said):
        torchlap.measure(
            *arguments, **options if isinstance(arguments[0], torchlap.Options) else {"out": out} | options
        )
    assert not out.exists()


def test_a_run_has_rows_a_table_and_a_short_repr(tmp_path: Path, clock: Clock, workers_here: None) -> None:
    out = tmp_path / "run.jsonl"
    with clock.ticking():
        run = torchlap.measure(own("small"), 4, devices="cpu", budget=20, explain=False, out=out, progress=False)
    (row,) = run.rows()
    assert (row["batch"], row["device"], row["failure"]) == ("4", "cpu", None)
    assert isinstance(row["items_per_second"], float)
    assert "<td>cpu</td>" in run._repr_html_()
    assert len(repr(run)) < 200
    assert torchlap.load(out) == run


def test_a_module_is_measured_with_its_batch(tmp_path: Path, clock: Clock, workers_here: None) -> None:
    out, module = tmp_path / "run.jsonl", nn.Linear(3, 2)
    with clock.ticking():
        run = torchlap.measure(
            module, (rand(5, 3), rand(5, 2)), nn.MSELoss(), devices="cpu", budget="20s", explain=False, out=out
        )
    (row,) = run.rows()
    assert (row["model"], row["batch"], row["unit"]) == ("Linear.py:make", "5", "samples")
    (identity,) = run.header.plan.identities
    assert (identity.parameters, identity.inputs) == (8, ("5x3 float32", "5x2 float32"))


def test_items_and_unit_reach_the_table(tmp_path: Path, clock: Clock, workers_here: None) -> None:
    module, batch = nn.Linear(3, 2), (rand(6, 3), rand(6, 2))
    asked: dict[str, Any] = {"devices": "cpu", "budget": 20, "explain": False, "out": tmp_path / "run.jsonl"}
    with clock.ticking():
        run = torchlap.measure(module, batch, nn.MSELoss(), items=3, unit="pairs", **asked)
    (lap, *_) = torchlap.figures(run)[0].cells[0].laps
    assert lap.items == 3 * lap.steps
    assert "<th>pairs/s</th>" in run._repr_html_()
    assert run.rows()[0]["unit"] == "pairs"


def test_the_examples_of_the_documentation_are_valid_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torchlap.Options] = []

    def recorded(options: torchlap.Options, _: object) -> torchlap.Run:
        asked.append(options)
        return torchlap.reference("experiment-2022")

    monkeypatch.setattr(run_of, "measure", recorded)
    for example in (ROOT / "docs" / "api.md").read_text().split("```python\n")[1:]:
        exec("import torchlap\n" + example.partition("```")[0], {})
    assert [options.models[0] for options in asked[:4]] == ["resnet18", "resnet18", "resnet18", "net.py:make"]
    assert [arm.name for arm in asked[2].arms] == ["base", "four"]
    assert asked[4].models[0].endswith("Linear.py:make")


def test_a_module_that_a_worker_cannot_have_is_refused() -> None:
    class Local(nn.Linear):
        pass

    with pytest.raises(UsageError, match=r"Cannot pickle the module|is defined in this notebook"):
        torchlap.measure(Local(3, 2), (rand(5, 3), rand(5, 2)), nn.MSELoss())
