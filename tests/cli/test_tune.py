"""`torchlap tune` as its users see it: on the simulated accelerator in virtual time, with words of known gains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import Command, own

from torchlap.api import tune
from torchlap.errors import EXIT_FINE, EXIT_INTERRUPTED, EXIT_RUN_FILE, EXIT_USAGE
from torchlap.measuring.tune import candidates
from torchlap.runs import file as runfile
from torchlap.schema.recipe import Recipe

if TYPE_CHECKING:
    from virtual import Clock

    from torchlap.worker.cell.bench import Bench

GAINS = {"channels_last": 1.5, "foreach": 1.25}
"""Of the simulated accelerator."""

OPTIONS = ("--devices", "sim:0", "--batch", 4, "--budget", "60s")


def gain(recipe: Recipe) -> float:
    product = 1.0
    for word in str(recipe).split("+"):
        product *= GAINS.get(word, 1.0)
    return product


@pytest.fixture
def code_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The code that was run: a process of its own would not be in virtual time."""
    texts: list[str] = []

    def run(code: str, _: float) -> tuple[tuple[float, ...], str]:
        texts.append(code)
        return (100.0, 101.0), ""

    monkeypatch.setattr(tune, "run_code", run)
    return texts


@pytest.fixture
def gains(torchlap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators of the simulated accelerator are faster in some recipes."""
    import torch  # noqa: PLC0415  after the fixture that imports it

    from torchlap.worker.cell.bench import Bench  # noqa: PLC0415

    queue = torch.get_device_module("sim").queue
    usual: Callable[[Bench], None] = Bench.activate

    def activate(bench: "Bench") -> None:
        usual(bench)
        queue.cost = 0.002 / gain(bench.cell.recipe)

    monkeypatch.setattr(Bench, "activate", activate)
    monkeypatch.setattr(queue, "cost", 0.002, raising=False)
    monkeypatch.setattr(candidates, "USUAL_ORDER", ("graph", "channels_last", "foreach"))  # nothing compiles


@pytest.mark.usefixtures("gains", "code_runs")
def test_with_energy_the_ladder_has_the_joules_of_each_recipe(
    torchlap: Command, clock: "Clock", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchlap.worker import meters  # noqa: PLC0415  after the fixture that imports torch

    monkeypatch.setattr(meters, "meter", lambda _: meters.Meter("a stub", lambda: 250.0 * clock.now))
    file = tmp_path / "tuned.jsonl"
    result = torchlap("tune", own("small"), *OPTIONS, "--energy", "--no-verify", "--out", file, "--format", "json")
    assert result.exit_code == EXIT_FINE, result.output
    found = json.loads(result.stdout)
    metered = [found["plain"], *(rung for rung in found["rungs"] if rung["energy"])]
    assert len(metered) > 2
    for cell in metered:
        power = cell["energy"]["joules_per_item"]["value"] * cell["items_per_second"]["value"]
        assert power == pytest.approx(250.0, rel=0.05)
    words = " ".join(torchlap("report", file).output.split())
    assert "Least energy: fp32+channels_last+foreach" in words
    assert "J/image; the plain step uses" in words


def test_it_finds_the_known_best_and_prints_its_code(
    torchlap: Command, gains: None, code_runs: list[str], tmp_path: Path
) -> None:
    file, script = tmp_path / "tuned.jsonl", tmp_path / "train_fast.py"
    result = torchlap("tune", own("small"), *OPTIONS, "--out", file, "--write", script, "--format", "json")
    assert result.exit_code == EXIT_FINE, result.output
    found = json.loads(result.stdout)
    assert found["winners"]["same"] == "fp32+channels_last+foreach"
    failed = {rung["word"] for rung in found["rungs"] if rung["failure"]}
    assert failed == {"bf16", "fp16"}, "the simulated accelerator has no autocast"
    assert found["code"]["fp32+channels_last+foreach"]["rates"] == [100.0, 101.0]
    assert script.read_text() in code_runs
    assert script.read_text().startswith("# Written by torchlap tune:")
    assert runfile.load(file).header.plan.tuning is not None


def words_of(text: str) -> str:
    return " ".join(text.split())


def test_where_nothing_helps_it_says_so(
    torchlap: Command, gains: None, code_runs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(GAINS, "channels_last")
    monkeypatch.setattr(candidates, "USUAL_ORDER", ("channels_last",))
    result = torchlap("tune", own("digits_network"), *OPTIONS, "--out", tmp_path / "tuned.jsonl")
    assert result.exit_code == EXIT_FINE
    assert "no recipe is faster than fp32+contiguous" in words_of(result.stdout)
    assert "TL501" in result.stdout


def test_report_compare_and_the_page_show_the_ladder(
    torchlap: Command, gains: None, code_runs: list[str], tmp_path: Path
) -> None:
    file, page = tmp_path / "tuned.jsonl", tmp_path / "page.html"
    shown = torchlap("tune", own("small"), *OPTIONS, "--out", file)
    again = torchlap("report", file)
    assert "Same arithmetic" in shown.stdout
    for text in ("Same arithmetic", "best", "fp32+channels_last+foreach", "# Written by torchlap tune:", "Left out"):
        assert text in again.stdout
    assert torchlap("compare", file, "--across", "recipe").exit_code == EXIT_FINE
    assert torchlap("report", file, "--html", page).exit_code == EXIT_FINE
    assert "The ladder" in page.read_text()
    markdown = torchlap("report", file, "--format", "markdown").stdout
    assert "### Same arithmetic" in markdown
    assert "```python" in markdown


def test_an_interrupted_search_shows_its_ladder_and_is_resumed(
    torchlap: Command, gains: None, code_runs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchlap.measuring.tune.race import Races  # noqa: PLC0415

    race = Races.race
    calls: list[int] = []

    def interrupted(self: Races, number: int, over: int, seconds: float) -> object:
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return race(self, number, over, seconds)

    monkeypatch.setattr(Races, "race", interrupted)
    file = tmp_path / "tuned.jsonl"
    result = torchlap("tune", own("small"), *OPTIONS, "--out", file)
    assert result.exit_code == EXIT_INTERRUPTED
    assert f"torchlap tune --resume {file}" in words_of(result.stderr)
    assert "foreach" in result.stdout
    result = torchlap("tune", "--resume", file)
    assert result.exit_code == EXIT_FINE, result.output
    assert "fp32+channels_last+foreach" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "torchlap tune tunes one model"),
        (("resnet18", "--batch", "4,64"), "one batch size"),
        (("resnet18", "--allow", "everything"), "Invalid --allow"),
        (("resnet18", "--devices", "cpu,sim:0"), "takes one device"),
        (("resnet17", "--batch", "4"), "did you mean"),
        (("resnet18", "--resume", "run.jsonl"), "omit the model"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], message: str, torchlap: Command) -> None:
    result = torchlap("tune", *words)
    assert result.exit_code == EXIT_USAGE
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_file_that_torchlap_did_not_write_is_kept(torchlap: Command, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('mine')\n")
    result = torchlap("tune", own("small"), "--write", script)
    assert result.exit_code == EXIT_RUN_FILE
    assert script.read_text() == "print('mine')\n"


def test_a_run_of_another_command_is_not_resumed(torchlap: Command, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--budget", "5s", "--out", file)
    result = torchlap("tune", "--resume", file)
    assert result.exit_code == EXIT_USAGE
    assert "is not a run of torchlap tune" in result.stderr


GRAPH_MODELS = {
    own("plain", "captured.py"): "",
    own("normalized", "captured.py"): "",
    own("own_step", "captured.py"): "",
    own("clipped", "captured.py"): "",
    own("layered"): "",
    own("through_a_loader", "captured.py"): "",
    own("waits", "captured.py"): "refused: ",
    own("shapes", "captured.py"): "refused: ",
    own("host_counter", "captured.py"): "refused: ",
}
"""Models, each with how its candidate with a graph ends: dropout, batch norm, a loader, decisions by data."""


@pytest.mark.usefixtures("gains", "code_runs")
@pytest.mark.parametrize("model", GRAPH_MODELS, ids=lambda model: model.rpartition(":")[2])
def test_a_graph_of_any_model_is_raced_or_refused_in_a_sentence(
    model: str, torchlap: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(candidates, "KINDS_WITH_GRAPHS", ("sim",))
    monkeypatch.setattr(candidates, "USUAL_ORDER", ("graph", "foreach"))
    result = torchlap("tune", model, *OPTIONS, "--out", tmp_path / "tuned.jsonl", "--format", "json")
    assert result.exit_code == EXIT_FINE, result.output
    found = json.loads(result.stdout)
    graph = next(rung for rung in found["rungs"] if rung["word"] == "graph")
    expected = GRAPH_MODELS[model]
    assert (graph["out"] or "").startswith(expected), graph["out"]
    assert (graph["gain"] is None) == bool(expected)
    assert found["plain"]["items_per_second"]
