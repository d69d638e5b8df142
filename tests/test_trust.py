from making import CPU, CUDA, MPS, facts, failure, header, pair, plan, prepared, rounds, run
from msgspec.structs import replace

from torchlap.findings import CATALOGUE, Finding
from torchlap.records import Event, Run
from torchlap.trust import judge

WHERE = "resnet18, batch 4, cpu", "resnet18, batch 4, cuda:0"


def codes(of: Run) -> list[tuple[str, str]]:
    return [(finding.code, finding.where) for finding in judge(of)]


def test_a_sound_run_with_an_accelerator_has_no_findings() -> None:
    assert judge(run([prepared(0), prepared(1), *rounds([0.1] * 5, [0.02] * 5)])) == ()


def test_without_an_accelerator_the_run_says_what_was_looked_for() -> None:
    alone = facts(devices=(CPU,), looked_for="Looked for CUDA (no driver).")
    assert judge(run(machine=alone)) == (
        Finding(
            "TL101",
            "note",
            "",
            "Only the CPU was measured. Looked for CUDA (no driver).",
            "If this machine has a GPU, check its driver, and that the installed torch was built for it.",
        ),
    )


def test_any_accelerator_is_company() -> None:
    for device in (CUDA, MPS):
        assert judge(run(machine=facts(devices=(CPU, device)))) == ()


def test_fewer_than_five_laps_are_few() -> None:
    few = run([*rounds([0.1] * 5, [0.02, 0.02, 0.02, None, None])])
    assert judge(few) == (Finding("TL201", "note", WHERE[1], "n = 3", "Give it more time with --budget."),)


def test_a_cell_without_a_figure_is_not_said_to_have_few_laps() -> None:
    assert codes(run([*rounds([0.1] * 5, [0.02, None, None, None, None])])) == []
    assert codes(run([*rounds([0.1] * 3, [0.02] * 3), failure(0), failure(1)])) == []


def test_an_interval_wider_than_asked_for_is_told_with_its_width() -> None:
    (finding,) = judge(run([*rounds([0.1, 0.2, 0.1, 0.2, 0.1], [0.02] * 5)], plan(pair(), precision_target=0.45)))[:1]
    assert (finding.code, finding.where) == ("TL202", WHERE[0])
    assert finding.evidence == "half-width 47.1%, asked for 45.0%, 5 laps"


def test_a_wide_speed_up_is_told_though_the_throughput_is_narrow_enough() -> None:
    slow, fast = [0.1, 0.104, 0.1, 0.104, 0.1], [0.0208, 0.02, 0.0208, 0.02, 0.0208]
    assert codes(run(rounds(slow, fast), plan(pair(), precision_target=0.035))) == [("TL202", WHERE[1])]


def test_the_target_says_what_is_wide() -> None:
    laps = rounds([0.1, 0.104, 0.1, 0.104, 0.1], [0.02] * 5)
    assert codes(run(laps, plan(pair(), precision_target=0.5))) == []
    assert codes(run(laps, plan(pair(), precision_target=0.001))) == [("TL202", WHERE[0]), ("TL202", WHERE[1])]


def test_a_wide_interval_of_few_laps_is_told_once_as_few() -> None:
    assert codes(run(rounds([0.1, 0.2], [0.02] * 2))) == [("TL201", WHERE[0]), ("TL201", WHERE[1])]


def test_a_warm_up_that_was_cut_short_is_told_with_what_it_had() -> None:
    cut = prepared(1, steady=False, warm_up_steps=1, warm_up_seconds=3.25)
    assert judge(run([prepared(0), cut, *rounds([0.1] * 5, [0.02] * 5)])) == (
        Finding("TL203", "note", WHERE[1], "1 step in 3.2 s", "Give it more time with --budget."),
    )
    longer = replace(cut, warm_up_steps=7)
    assert judge(run([longer, *rounds([0.1] * 5, [0.02] * 5)]))[0].evidence == "7 steps in 3.2 s"


def test_a_cold_cell_without_a_figure_is_not_told() -> None:
    assert judge(run([prepared(0, steady=False), prepared(1, steady=False)])) == ()


def test_findings_come_in_the_catalogues_order() -> None:
    events: list[Event] = [prepared(0, steady=False), prepared(1, steady=False), *rounds([0.1, 0.2], [0.02] * 2)]
    both = plan(pair(), pair(batch=64), precision_target=0.001)
    events += rounds([0.1, 0.2, 0.1, 0.2, 0.1], [0.02] * 5, comparison=1)
    found = [finding.code for finding in judge(run(events, both, facts(devices=(CPU,))))]
    assert found == ["TL101", "TL201", "TL201", "TL202", "TL202", "TL203", "TL203"]


def test_the_catalogue_has_each_code_once_in_order_with_a_remedy() -> None:
    numbers = [rule.code for rule in CATALOGUE]
    assert numbers == sorted(set(numbers))
    assert all(rule.remedy.endswith(".") and rule.why.endswith(".") for rule in CATALOGUE)


def test_a_run_without_events_is_judged_too() -> None:
    assert judge(Run(header())) == ()
