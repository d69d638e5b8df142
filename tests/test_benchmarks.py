"""Small versions of the benchmarks' tables, and the pages that are made from the code."""

import json
import random
from pathlib import Path

import fuzz_traces
import fuzz_words
import pytest
import signals
from attacks import ATTACKS, WRONG, attack
from false_alarms import Check, make, missing, of_one_check, rows
from fuzz_run_files import EVENTS, hostile, outcome
from gate import MACHINES, STARTS, called
from injected import CAUSES, quiet, told
from make_findings import FOLDER, pages
from more_right import MODELS as MORE_RIGHT_MODELS
from noise import MODELS, compare
from numerics_rates import CALLS, FAULTS, found
from right import MODELS as RIGHT_MODELS
from small import MODELS as SMALL_MODELS
from starts import SPREADS, Kind
from starts import called as of_processes

from torchlap.reports.explain import CATALOGUE
from torchlap.schema.messages import INVALID, decode_reply

COMPARISONS = 30
LEAST = 0.8
"""If 93 of 100 intervals contain the truth, fewer than 24 of 30 do so in one of 100 tries."""

MOSTLY = {"TL206": 0.2}
"""In few laps, correlation does not always show."""


@pytest.mark.parametrize("place", range(len(MODELS)), ids=[noise.name for noise in MODELS])
def test_the_interval_contains_the_truth_or_the_finding_is_reported(place: int) -> None:
    outcomes = [compare(place, seed) for seed in range(COMPARISONS)]
    if MODELS[place].finding:
        assert all(MODELS[place].finding in one.findings for one in outcomes)
    else:
        assert sum(one.interval.low <= one.truth <= one.interval.high for one in outcomes) >= LEAST * COMPARISONS


@pytest.mark.parametrize("machine", range(len(MACHINES)), ids=[machine.name for machine in MACHINES])
def test_equal_arms_are_not_called_slower(machine: int) -> None:
    assert "slower" not in [called(machine, "live, repeated", 1.0, 0.05, seed) for seed in range(12)]


@pytest.mark.parametrize("machine", range(4), ids=[machine.name for machine in MACHINES[:4]])
def test_a_clear_slow_down_is_seen_live_where_files_may_miss_it(machine: int) -> None:
    live = [called(machine, "live", 0.85, 0.05, seed) for seed in range(12)]
    files = [called(machine, "files", 0.85, 0.05, seed) for seed in range(12)]
    assert live.count("slower") >= max(11, files.count("slower") - 1)


@pytest.mark.parametrize("spread", SPREADS)
def test_equal_arms_are_not_called_different_because_their_processes_differ(spread: float) -> None:
    found = [of_processes(Kind("", spread, STARTS, one_in_four=False), 1.0, 0.05, seed) for seed in range(40)]
    assert sum(one.side != 0 for one in found) <= 6  # 2 are expected
    assert {one.gate for one in found} <= {"pass", "inconclusive"}
    assert {one.verdict for one in found} <= {"same", "inconclusive"}


@pytest.mark.parametrize("spread", SPREADS[:2])
def test_several_starts_see_a_slow_down_that_one_start_cannot_be_sure_of(spread: float) -> None:
    seen = [
        sum(
            of_processes(Kind("", spread, starts, one_in_four=False), 0.92, 0.05, seed).gate == "slower"
            for seed in range(12)
        )
        for starts in (1, STARTS)
    ]
    assert seen[1] >= 11 > seen[0]


@pytest.mark.parametrize("cause", CAUSES)
def test_an_injected_cause_is_reported(cause: str) -> None:
    code, inject = CAUSES[cause]
    seen = [code in told(inject(quiet(seed), seed)) for seed in range(20)]
    assert sum(seen) >= MOSTLY.get(code, 1.0) * len(seen)


def test_a_quiet_run_has_no_finding() -> None:
    alarms = [told(quiet(seed)) for seed in range(20)]
    assert set().union(*alarms) <= {"TL206"}
    assert sum(map(bool, alarms)) <= 1


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("in_turns", [False, True], ids=["alone", "in turns"])
def test_no_attack_leads_to_a_wrong_figure_without_a_word(
    name: str, in_turns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchlap.worker.cell.timing.time", None)  # the attack replaces it
    outcomes = [attack(ATTACKS[name], seed, in_turns=in_turns) for seed in range(3)]
    assert all(outcome.told for outcome in outcomes if abs(outcome.error) > WRONG)


def test_each_finding_has_a_page_that_matches_the_catalog() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == pages()
    assert len(pages()) == len(CATALOGUE) + 1


def test_hostile_run_files_are_refused_or_shown_escaped(tmp_path: Path) -> None:
    seen = [outcome(hostile(random.Random(seed)), tmp_path / "run.jsonl", draws=seed % 100 == 0) for seed in range(300)]
    assert set(seen) == {"refused", "shown"}


def test_hostile_traces_are_refused_or_reported(tmp_path: Path) -> None:
    seen = [fuzz_traces.outcome(fuzz_traces.hostile(random.Random(seed)), tmp_path / "t.json") for seed in range(300)]
    assert set(seen) == {"refused", "reported"}
    assert fuzz_traces.outcome(json.dumps(fuzz_traces.BASE).encode(), tmp_path / "t.json") == "reported"


def test_hostile_words_and_messages_are_refused_or_understood() -> None:
    assert {fuzz_words.of_words(random.Random(seed)) for seed in range(300)} == {"refused", "planned"}
    assert {fuzz_words.of_messages(random.Random(seed)) for seed in range(300)} == {"invalid", "decoded"}


@pytest.mark.parametrize(
    "content",
    [
        b'["progress", {"type":"progress"}]',
        b'{"type":"progress","doing":"\xff"}',
        b'{"type":"progress","x":' + b"[" * 2000,
        b"",
    ],
    ids=["list", "broken text", "nested", "empty"],
)
def test_a_message_that_is_none_is_an_invalid_answer(content: bytes) -> None:
    with pytest.raises(INVALID):
        decode_reply(content)


@pytest.mark.rare
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("name", signals.COMMANDS)
def test_signals_leave_no_worker_behind(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    signals.print_rows(name, signals.COMMANDS[name], random.Random(1), 8, 4)
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith("|")]
    assert len(rows) == len(signals.SIGNALS)
    assert all(row.endswith("| 0 |") for row in rows), rows


def test_the_run_that_is_fuzzed_can_be_shown(tmp_path: Path) -> None:
    content = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
    assert outcome(content, tmp_path / "run.jsonl") == "shown"


ON_THE_CPU = [
    f"right:{name}" for name in RIGHT_MODELS if name != "checkpointed"
]  # it asks for autocast on every device
ON_THE_CPU += [
    f"{file}:{name}" for file, of in (("small", SMALL_MODELS), ("more_right", MORE_RIGHT_MODELS)) for name in of
]


@pytest.mark.parametrize("model", ON_THE_CPU)
def test_a_right_model_is_not_accused(model: str, clock: object) -> None:
    assert of_one_check(Check(model, "fp32", 0), "cpu", 4)[0] == "correct"


def test_checks_that_a_file_has_are_not_made_again(tmp_path: Path, clock: object) -> None:
    out = tmp_path / "checks.jsonl"
    make([Check("right:einsum", "fp32", 0)], "cpu", 4, str(out), 1e12)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["model"], line["seed"], line["word"]) for line in lines] == [("right:einsum", 0, "correct")]
    assert missing(["right:einsum"], ["fp32"], 2, lines) == [Check("right:einsum", "fp32", 1)]
    *_, row, total = rows(lines, ["fp32", "bf16"], "model")
    assert (row, total) == ("| einsum | 1 correct |  |", "| all | 1 correct |  |")


def test_faults_of_every_size_are_found_and_right_products_are_not_accused(clock: object) -> None:
    _, _, clean, *rates = found(1, "cpu", ["fp32"], [4])
    assert clean == "| none | " + " | ".join(["0.0%"] * len(CALLS)) + " |"
    assert len(rates) == len(FAULTS) + 1
    assert all(row.count("100.0%") == len(CALLS) for row in rates), rates
