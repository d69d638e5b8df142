"""Runs beside each other: which cells belong together, the verdict, what differs; and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from making import CPU, CUDA, FACTS, FAULT, MPS, cell, facts, failure, header, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from support import ROOT, Command

import torchlap
from torchlap.errors import UsageError
from torchlap.judge.compare import Change, Compared, compare, slower_by
from torchlap.judge.measurement import void, voided
from torchlap.reports.compare import as_json, as_markdown, as_text, headline
from torchlap.runs.file import RunFile
from torchlap.runs.find import Named
from torchlap.schema.events import NumericsChecked, Run
from torchlap.schema.machine import Facts, Power
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group
from torchlap.stats import Interval, lap_interval, unpaired_ratio

PUBLISHED = {
    ("vgg16", 4): 5.19,
    ("alexnet", 4): 3.36,
    ("resnet18", 4): 2.26,
    ("mobilenet_v2", 4): 4.95,
    ("efficientnet_b0", 4): 3.40,
    ("vgg16", 64): 6.10,
    ("alexnet", 64): 3.63,
    ("resnet18", 64): 6.12,
    ("mobilenet_v2", 64): 25.49,
    ("efficientnet_b0", 64): 19.19,
}


def test_the_2022_experiments_speed_ups_are_those_that_follow_from_its_seconds() -> None:
    seen = torchlap.compare("experiment-2022", across="devices")
    ratios = {(each.model, each.batch): each.ratio for each in seen.changes}
    assert {place: round(ratio or 0, 2) for place, ratio in ratios.items()} == PUBLISHED
    assert {each.verdict for each in seen.changes} == {"cannot tell"}  # one epoch has no spread
    assert "protocol is unsound" in seen.columns[0].published
    assert "224.99%" in seen.columns[0].published
    slow = {each.model: each.before for each in seen.changes if each.batch == 64}
    assert slow["mobilenet_v2"] == pytest.approx(1000 / 436.72195410728455)  # its last batch is not full


def at(*speeds: float, machine: Facts = FACTS, recipe: Recipe | None = None) -> Run:
    """A run of one comparison whose cells do so many images a second, within 1 %."""
    devices = [device.name for device in machine.devices][: len(speeds)]
    cells = tuple(cell(device, recipe=recipe or Recipe()) for device in devices)
    laps = [[4 / speed * factor for factor in (1.0, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0, 1.0)] for speed in speeds]
    return run([*map(prepared, range(len(speeds))), *rounds(*laps)], plan(Group(cells)), machine)


def beside(before: Run, after: Run, **options: float) -> Compared:
    return compare([Named("before", before), Named("after", after)], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (100.0, "same"),
        (101.0, "same"),
        (112.0, "faster"),
        (89.0, "slower"),
        (106.0, "cannot tell"),
        (94.0, "cannot tell"),
    ],
)
def test_the_verdict_is_the_whole_intervals(after: float, verdict: str) -> None:
    (change,) = beside(at(100.0), at(after)).changes
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(after / 100)
    assert change.interval is not None
    assert change.interval.low < change.interval.value < change.interval.high


def test_a_wider_band_calls_more_the_same() -> None:
    assert beside(at(100.0), at(106.0), band=0.2).changes[0].verdict == "same"


def test_slower_with_certainty_only() -> None:
    for speed, expected in ((93.0, 0), (80.0, 1)):
        assert len(slower_by(beside(at(100.0), at(speed)), 0.05)) == expected


def test_accelerators_belong_together_whatever_they_are_called() -> None:
    mac = facts(devices=(CPU, MPS), cpu="Apple M1 Max")
    first, second = beside(at(10.0, 100.0), at(20.0, 50.0, machine=mac)).changes
    assert (first.before_device, first.device) == ("cpu", "cpu")
    assert (second.before_device, second.device) == ("cuda:0", "mps")
    assert first.ratio == pytest.approx(2.0)
    assert second.ratio == pytest.approx(0.5)


def test_a_cell_with_another_way_of_its_data_is_compared_and_said_to_be_unlike() -> None:
    (change,) = beside(at(100.0), at(50.0, recipe=Recipe(workers=4))).changes
    assert change.unlike == ("data resident against loader(4)",)
    seen = beside(at(100.0), at(50.0, recipe=Recipe("bf16")))
    assert seen.changes == ()
    assert seen.alone == ("before: resnet18, batch 4, cpu", "after: resnet18, batch 4, cpu, bf16")


def test_what_differs_is_named() -> None:
    other = facts(packages={"torch": "2.15.0", "torchvision": "0.28.0"}, power=Power(on_battery=True))
    after = beside(at(100.0), at(100.0, machine=other)).columns[1]
    assert after.unlike == ("torch 2.13.0 against 2.15.0", "power mains against on battery")
    assert beside(at(100.0), at(100.0)).columns[1].unlike == ()


def test_a_void_or_failed_cell_cannot_be_told() -> None:
    broken = run([failure(0, "out_of_memory")], plan(Group((cell(),))))
    (change,) = beside(at(100.0), broken).changes
    assert (change.verdict, change.ratio, change.why) == ("cannot tell", None, "after: out of memory")
    nan = run([prepared(0), *rounds([0.1] * 8), failure(0, "not_finite")], plan(Group((cell(),))))
    assert beside(nan, at(100.0)).changes[0].why == "before: void (TL215)"


def test_across_devices_a_runs_own_speed_up_is_taken() -> None:
    (change,) = compare([Named("a", at(10.0, 55.0))], across="devices").changes
    assert (change.why, change.verdict, change.column) == ("paired", "faster", "NVIDIA H200")
    assert change.ratio == pytest.approx(5.5)


def test_across_torch_and_machines_the_latest_of_each_counts() -> None:
    newer = facts(packages={"torch": "2.15.0"})
    runs = [Named(name, each) for name, each in (("a", at(100.0)), ("b", at(150.0)), ("c", at(300.0, machine=newer)))]
    seen = compare(runs, across="torch")
    assert [column.label for column in seen.columns] == ["torch 2.13.0", "torch 2.15.0"]
    assert seen.changes[0].ratio == pytest.approx(2.0)
    other = facts(cpu="Slow Processor 1", devices=(CPU,))
    seen = compare([Named("a", at(100.0)), Named("b", at(50.0, machine=other))], across="machine")
    assert [column.label for column in seen.columns] == ["Fast Processor 9 + NVIDIA H200", "Slow Processor 1"]


def test_an_unpaired_interval_holds_the_truth() -> None:
    generator, held = np.random.default_rng(1), 0
    for _ in range(300):
        first, second = (list(np.exp(generator.normal(mean, 0.03, 18))) for mean in (0.0, 0.2))
        ratio = unpaired_ratio(lap_interval(second), lap_interval(first))
        held += ratio.low <= np.exp(0.2) <= ratio.high
    assert held >= 0.93 * 300


def test_what_runs_differ_by_anyway_widens_the_interval() -> None:
    exact = Interval(2.0, 2.0, 2.0, 8)
    assert unpaired_ratio(exact, Interval(1.0, 1.0, 1.0, 8)).half_width == 0.0
    assert unpaired_ratio(exact, exact, between=0.03).half_width == pytest.approx(0.03)


def written(folder: Path, name: str, of: Run) -> Path:
    file = RunFile.create(folder / name)
    for event in (of.header, *of.events):
        file.append(event)
    file.close()
    return folder / name


def test_the_command_names_what_differs_first_and_fails_where_it_is_asked_to(tmp_path: Path, torchlap: Command) -> None:
    other = facts(packages={"torch": "2.15.0", "torchvision": "0.28.0"})
    files = [
        written(tmp_path, "a.jsonl", at(10.0, 100.0)),
        written(tmp_path, "b.jsonl", at(10.0, 70.0, machine=other)),
    ]
    result = torchlap("compare", *files)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "b.jsonl beside a.jsonl: 1 slower, 1 same."
    assert lines[1] == "  Not alike (b.jsonl): torch 2.13.0 against 2.15.0."
    row = next(line for line in lines if "cuda:0" in line)
    assert row.split()[-6:] == ["100", "70.0", "0.70x", "(0.68", "to", "0.72)"] or row.split()[-1] == "slower"
    assert torchlap("compare", *files, "--fail-if-slower", "5%").exit_code == 1
    assert torchlap("compare", *files, "--fail-if-slower", "40%").exit_code == 0
    assert torchlap("compare", tmp_path).stdout == result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.jsonl", "experiment-2022"], "nothing.jsonl cannot be read"),
        (["m1", "experiment-2022"], "no run file or reference 'm1': check the path, or choose experiment-2022,"),
        (["experiment-2022"], "There is one run: name another"),
        (["experiment-2022", "experiment-2022", "--across", "torch"], "All runs have the same torch"),
        (["experiment-2022", "experiment-2022-h100", "--band", "5"], "'5' is no band: give a share from 0.1% to 50%"),
        (["experiment-2022", "experiment-2022"], "The same run is named twice"),
        (["."], "There is no run file (*.jsonl) in ."),
    ],
)
def test_bad_words_are_told_in_a_sentence(
    words: list[str], said: str, torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = torchlap("compare", *words)
    assert result.exit_code in (2, 4), result.output
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_runs_without_a_cell_in_common_are_refused(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "a.jsonl", at(10.0)),
        written(tmp_path, "b.jsonl", run([], plan(pair(model="vgg16")))),
    ]
    with pytest.raises(UsageError, match="No cell of one has its like"):
        torchlap.compare(*files)


def test_each_format_has_the_verdicts_and_json_is_documented() -> None:
    seen = beside(at(10.0, 100.0), at(10.0, 70.0))
    assert headline(seen) == "after beside before: 1 slower, 1 same."
    told = json.loads(as_json(seen, 0))
    documented = (ROOT / "docs" / "compare.md").read_text()
    assert [each["verdict"] for each in told["changes"]] == ["same", "slower"]
    names = [*told, *told["changes"][0], *told["columns"][0]]
    assert [name for name in names if f"`{name}`" not in documented] == []
    assert "| resnet18 | 4 | cuda:0 | 100 | 70.0 | 0.70x (0.68 to 0.72) | slower |" in as_markdown(seen)
    assert max(map(len, as_text(seen, 80, color=False).splitlines())) <= 80
    assert max(map(len, as_text(seen, 40, color=False).splitlines())) <= 40


def test_no_name_steers_the_terminal() -> None:
    evil = "\x1b[31m\u202e<b>"
    odd = facts(cpu=evil, system=evil, devices=(CPU, replace(CUDA, model=evil)))
    seen = compare([Named(evil, at(10.0, 20.0)), Named("b", at(10.0, 20.0, machine=odd))])
    for text in (as_text(seen, 80, color=False), as_markdown(seen), as_json(seen, 0)):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "<b>" not in as_markdown(seen).replace("\\<b\\>", "")


def test_every_change_is_plain_data() -> None:
    (change, _) = beside(at(10.0, 100.0), at(10.0, 70.0)).changes
    assert isinstance(change, Change)
    assert header().published == ""


def test_a_void_cell_is_void_in_both_ways_of_asking() -> None:
    nan = run([prepared(0), *rounds([0.1] * 8), failure(0, "not_finite")], plan(Group((cell(),))))
    wrong = run(
        [
            prepared(1),
            *rounds([0.1] * 8, [0.1] * 8),
            NumericsChecked(group=0, cell=1, numerics=Numerics(faults=(FAULT,))),
        ]
    )
    for each in (nan, wrong, at(10.0, 20.0)):
        cells = [one for group in torchlap.figures(each) for one in group.cells]
        assert {str(one.cell): voided(one) for one in cells if voided(one)} == void(torchlap.findings(each))


def test_a_run_that_was_measured_before_is_shown_again(tmp_path: Path, torchlap: Command) -> None:
    file = written(tmp_path, "a.jsonl", at(10.0, 55.0))
    shown = torchlap("report", file)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("Fast Processor 9")
    assert "5.50x" in shown.stdout
    assert "bound by" in torchlap("report", "protocol-2022-h100").stdout
    assert "Bound by input" in torchlap("report", "protocol-2022-h100", "--why", "--format", "markdown").stdout
    assert json.loads(torchlap("report", file, "--format", "json").stdout)["cells"]
    assert "~5.3 (n = 1)" in torchlap("report", "experiment-2022").stdout
    both = torchlap("report", file, file)
    assert both.stdout.count("a.jsonl\n") == 2
    refused = torchlap("report", file, file, "--format", "csv")
    assert (refused.exit_code, "--format csv is of one run" in refused.output) == (2, True)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    files = [written(tmp_path / name, "run.jsonl", at(speed)) for name, speed in (("a", 100.0), ("b", 50.0))]
    seen = torchlap.compare(*files)
    assert [column.label for column in seen.columns] == list(map(str, files))
    assert seen.changes[0].verdict == "slower"
