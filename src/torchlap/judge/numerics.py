"""Whether results are correct: a verdict, and findings TL3xx, each rule directly above the function that yields it."""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics, NumericsFault, OperatorSuite
from torchlap.schema.workload import Cell

Verdict = Literal["correct", "wrong", "inexact", "not checked"]
MOSTLY = 0.5
MOST_EXAMPLES = 3


class CellNumerics(Struct, frozen=True):
    """A cell and the result of its check."""

    cell: Cell
    numerics: Numerics


class Verification(Struct, frozen=True, kw_only=True):
    """The result of `torchlap verify`; if interrupted, without the suites that were still to be run.

    `torchlap` is the version.
    """

    torchlap: str
    facts: Facts
    cells: tuple[CellNumerics, ...]
    suites: tuple[OperatorSuite, ...] = ()
    interrupted: bool = False


def verdict(numerics: Numerics | None) -> Verdict:
    """The result of a check in a word."""
    if numerics is None or numerics.reason:
        return "not checked"
    if _faults(numerics) or _mostly_imprecise(numerics):
        return "wrong"
    return "inexact" if numerics.imprecise else "correct"


def _faults(numerics: Numerics) -> list[NumericsFault]:
    """All faults but products of a lower precision."""
    return [fault for fault in numerics.faults if fault.kind != "imprecise"]


def _mostly_imprecise(numerics: Numerics) -> bool:
    if numerics.imprecise_share is not None:
        return numerics.imprecise_share > MOSTLY
    return numerics.imprecise > MOSTLY * numerics.products  # an older file


NOT_CHECKED = Rule(
    "TL304",
    "note",
    "numerics not checked",
    "It is unknown whether this device computes correct results here, and a fast wrong result is worthless.",
    "Run torchlap verify with the same model, batch and recipe.",
)


def cell_findings(numerics: Numerics | None, where: str) -> Iterable[Finding]:
    """The findings about the check of one cell; `where` is its name."""
    if numerics is None or numerics.reason:
        yield NOT_CHECKED.finding(where, numerics.reason if numerics else "not checked")
        return
    yield from wrong(numerics, where)
    yield from imprecise(numerics, where)
    yield from not_deterministic(numerics, where)
    yield from partly_checked(numerics, where)


def findings(verification: Verification) -> tuple[Finding, ...]:
    """The findings about everything that was verified, sorted by code."""
    all_findings: list[Finding] = []
    for cell in verification.cells:
        all_findings += cell_findings(cell.numerics, str(cell.cell))
    for suite in verification.suites:
        all_findings += suite_wrong(suite)
    return tuple(sorted(all_findings, key=lambda finding: finding.code))


WRONG = Rule(
    "TL301",
    "error",
    "wrong results",
    "An operator of the step gives a result that differs from float64 on the CPU, computed from the same inputs, by "
    "more than rounding explains. The speed of wrong results means nothing.",
    "Upgrade torch and the driver or the system; torchlap verify with --report-bug writes a script for a bug report.",
    "the same operator on the same values in float64 on the CPU: docs/verify.md",
)


def wrong(numerics: Numerics, where: str) -> Iterable[Finding]:
    """Operators are wrong."""
    faults = _faults(numerics)
    if faults:
        yield WRONG.finding(where, _examples(faults))


def _examples(faults: Sequence[NumericsFault]) -> str:
    """Some faults in words, beginning with the first of each phase: the cause is there."""
    phases: dict[str, NumericsFault] = {}
    for fault in faults:
        phases.setdefault(fault.phase, fault)
    examples = list(dict.fromkeys([*phases.values(), *faults]))[:MOST_EXAMPLES]
    more = f"; and {len(faults) - len(examples)} more" if len(faults) > len(examples) else ""
    return "; ".join(map(described, examples)) + more


def described(fault: NumericsFault) -> str:
    """An operator's fault in a clause: where, what, and by how much."""
    place = f"{fault.phase}, {fault.module}" if fault.module else fault.phase
    tensor = f"{fault.dtype}{list(fault.shape)} {fault.layout}".strip()
    if fault.kind == "not_finite":
        return f"{place}: {fault.operator} is not finite, but the reference is ({tensor})"
    if fault.kind == "shape":
        return (
            f"{place}: {fault.operator} has the shape {list(fault.shape)}, but the reference {', '.join(fault.inputs)}"
        )
    if fault.kind == "random":
        inputs = ", ".join(fault.inputs)
        return f"{place}: {fault.operator} is off by {fault.error:.2g}, limit {fault.allowed:.1g} ({inputs})"
    return f"{place}: {fault.operator} is off by {fault.error:.1e}, limit {fault.allowed:.1e} ({tensor})"


LOWER_PRECISION = Rule(
    "TL302",
    "error",
    "lower precision than requested",
    "Most matrix products differ from float64 as much as they would in the next lower precision (TF32 for float32, "
    "bfloat16 for float16). The speed is not that of the requested precision.",
    "Check the settings of TF32 (NVIDIA_TF32_OVERRIDE, torch.backends), or request it with --recipe tf32.",
    "the same operator in float64 on the CPU, and in the next lower precision",
)

INEXACT = Rule(
    "TL303",
    "warning",
    "some matrix products are less exact than requested",
    "For these products, the device's library uses an algorithm that is only as exact as the next lower precision "
    "(TF32 for float32, bfloat16 for float16).",
    "If you need these digits, try another memory format, or torch.backends.cudnn.deterministic.",
    "the same operator in float64 on the CPU, and in the next lower precision",
)


def imprecise(numerics: Numerics, where: str) -> Iterable[Finding]:
    """Matrix products have the error of a lower precision: most of them, or some."""
    faults = [fault for fault in numerics.faults if fault.kind == "imprecise"]
    if faults:
        rule = LOWER_PRECISION if _mostly_imprecise(numerics) else INEXACT
        share = f"{numerics.imprecise} of {numerics.products} matrix products"
        if numerics.imprecise_share is not None:
            share += f" with {numerics.imprecise_share:.0%} of their FLOP"
        yield rule.finding(where, f"{share}, such as {described(faults[0])}")


NOT_DETERMINISTIC = Rule(
    "TL305",
    "note",
    "not deterministic",
    "The same step from the same state gives different results the second time: runs cannot be repeated bit by bit.",
    "If you need that, use torch.use_deterministic_algorithms(True), which may cost speed.",
    "the same step twice, in one process",
)


def not_deterministic(numerics: Numerics, where: str) -> Iterable[Finding]:
    """The same step differs from itself."""
    if numerics.spread:
        evidence = f"the {numerics.spread_of} differs by {numerics.spread:.1e} (relative)"
        yield NOT_DETERMINISTIC.finding(where, evidence)


PARTLY_CHECKED = Rule(
    "TL306",
    "note",
    "part of the step was not checked",
    "The operators draw random numbers, are hand-written, or have no counterpart on the CPU, or time ran out.",
    "If time ran out, run torchlap verify, which gives the check more time.",
)


def partly_checked(numerics: Numerics, where: str) -> Iterable[Finding]:
    """The check left operators out, or stopped early."""
    evidence = []
    if not numerics.complete:
        evidence.append(f"stopped after {numerics.seconds:.0f} s and {numerics.operators} operators")
    if numerics.unchecked:
        evidence.append(", ".join(reason.partition(":")[0] for reason in numerics.unchecked))
    if evidence:
        yield PARTLY_CHECKED.finding(where, "; ".join(evidence))


SUITE_WRONG = Rule(
    "TL307",
    "error",
    "operators compute wrong results",
    "A small call of an operator gives a result that differs from float64 on the CPU. Models that use the operator in "
    "this way are affected.",
    "Upgrade torch and the driver or the system; torchlap verify with --report-bug writes a script for a bug report.",
    "the operator suite: docs/verify.md",
)


def suite_wrong(suite: OperatorSuite) -> Iterable[Finding]:
    """Operators of the suite are wrong."""
    if suite.fault_count:
        more = f"; {suite.fault_count} in total" if suite.fault_count > MOST_EXAMPLES else ""
        examples = "; ".join(map(described, suite.faults[:MOST_EXAMPLES]))
        yield SUITE_WRONG.finding(suite.device, examples + more)


CATALOGUE = (WRONG, LOWER_PRECISION, INEXACT, NOT_CHECKED, NOT_DETERMINISTIC, PARTLY_CHECKED, SUITE_WRONG)
