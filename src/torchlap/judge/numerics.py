"""What a check of numbers means: a word, and findings TL3xx. Each rule stands beside its text."""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics, NumericsFault, OperatorSuite
from torchlap.schema.workload import Cell

Word = Literal["right", "wrong", "inexact", "unverified"]
MOSTLY = 0.5
MOST_EXAMPLES = 3

WRONG = Rule(
    "TL301",
    "error",
    "numbers are wrong",
    "An operator of the step gives another result than float64 on the CPU does from the same inputs, by more than "
    "rounding explains. A speed whose numbers are wrong means nothing.",
    "Upgrade torch and the driver or the system; torchlap verify with --report-bug writes a script for a bug report.",
    "the same operator on the same values in float64 on the CPU: docs/verify.md",
)
LOWER_PRECISION = Rule(
    "TL302",
    "error",
    "computed in a lower precision than asked for",
    "Most matrix products are as far from float64 as those of the next lower precision are, which is TF32 for float32 "
    "and bfloat16 for float16: the speed is not that of the precision asked for.",
    "Look at TF32's settings (NVIDIA_TF32_OVERRIDE, torch.backends), or ask for --recipe tf32.",
    "the same operator in float64 on the CPU, and in the next lower precision",
)
INEXACT = Rule(
    "TL303",
    "warning",
    "some products are less exact than asked for",
    "The device's library takes an inexact algorithm for them: as far off as the next lower precision, which is TF32 "
    "for float32 and bfloat16 for float16.",
    "Where the digits matter, try another memory format, or torch.backends.cudnn.deterministic.",
    "the same operator in float64 on the CPU, and in the next lower precision",
)
UNVERIFIED = Rule(
    "TL304",
    "note",
    "numbers not verified",
    "Nobody has looked whether this device computes right numbers here; a fast wrong result is worth nothing.",
    "torchlap verify, with the same model, batch and recipe.",
)
NOT_DETERMINISTIC = Rule(
    "TL305",
    "note",
    "not deterministic",
    "The same step from the same state gives other numbers the second time: runs cannot be repeated bit by bit.",
    "If you need that: torch.use_deterministic_algorithms(True), which may cost speed.",
    "the same step twice, in one process",
)
PART_UNCHECKED = Rule(
    "TL306",
    "note",
    "a part of the step was not checked",
    "For these operators the CPU has no counterpart, or there was no time.",
    "torchlap verify gives it more time.",
)
SUITE_WRONG = Rule(
    "TL307",
    "error",
    "operators compute wrong numbers",
    "A small call of an operator gives another result than float64 on the CPU does. Models that use it so are hit.",
    "Upgrade torch and the driver or the system; torchlap verify with --report-bug writes a script for a bug report.",
    "the operator suite: docs/verify.md",
)


class CellNumerics(Struct, frozen=True):
    """A cell and what was seen of its numbers."""

    cell: Cell
    numerics: Numerics


class Verification(Struct, frozen=True, kw_only=True):
    """What `torchlap verify` saw; `torchlap` is the version. An interrupted one lacks what was not yet looked at."""

    torchlap: str
    facts: Facts
    cells: tuple[CellNumerics, ...]
    suites: tuple[OperatorSuite, ...] = ()
    interrupted: bool = False


CATALOGUE = (WRONG, LOWER_PRECISION, INEXACT, UNVERIFIED, NOT_DETERMINISTIC, PART_UNCHECKED, SUITE_WRONG)


def word(seen: Numerics | None) -> Word:
    """The verdict in a word."""
    if seen is None or seen.reason:
        return "unverified"
    if _wrong(seen) or _mostly_imprecise(seen):
        return "wrong"
    return "inexact" if seen.imprecise else "right"


def _wrong(seen: Numerics) -> list[NumericsFault]:
    return [fault for fault in seen.faults if fault.kind != "imprecise"]


def _mostly_imprecise(seen: Numerics) -> bool:
    return seen.imprecise > MOSTLY * seen.products


def findings(seen: Numerics | None, where: str) -> Iterable[Finding]:
    """What is to be told of a cell's numbers."""
    if seen is None or seen.reason:
        yield found(UNVERIFIED, where, seen.reason if seen else "not checked")
        return
    if _wrong(seen):
        yield found(WRONG, where, _examples(_wrong(seen)))
    imprecise = [fault for fault in seen.faults if fault.kind == "imprecise"]
    if imprecise:
        rule = LOWER_PRECISION if _mostly_imprecise(seen) else INEXACT
        share = f"{seen.imprecise} of {seen.products} matrix products"
        yield found(rule, where, f"{share}, such as {described(imprecise[0])}")
    if seen.spread:
        yield found(NOT_DETERMINISTIC, where, f"the {seen.spread_of} differs by {seen.spread:.1e}, relative")
    if seen.unchecked or not seen.complete:
        names = ", ".join(text.partition(":")[0] for text in seen.unchecked)
        late = [] if seen.complete else [f"stopped after {seen.seconds:.0f} s and {seen.operators} operators"]
        yield found(PART_UNCHECKED, where, "; ".join([*late, *[names] * bool(names)]))


def judge(seen: Verification) -> tuple[Finding, ...]:
    """All findings of a verification, in the order of the catalogue."""
    told = [finding for each in seen.cells for finding in findings(each.numerics, str(each.cell))]
    for suite in seen.suites:
        if suite.fault_count:
            more = f"; {suite.fault_count} in all" if suite.fault_count > MOST_EXAMPLES else ""
            examples = "; ".join(map(described, suite.faults[:MOST_EXAMPLES]))
            told.append(found(SUITE_WRONG, suite.device, examples + more))
    return tuple(sorted(told, key=lambda finding: finding.code))


def _examples(faults: Sequence[NumericsFault]) -> str:
    """The first off forward, then the first off backward: there the fault begins."""
    shown = list(dict.fromkeys([*_firsts(faults), *faults]))[:MOST_EXAMPLES]
    more = f"; and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    return "; ".join(map(described, shown)) + more


def _firsts(faults: Iterable[NumericsFault]) -> Iterable[NumericsFault]:
    phases: dict[str, NumericsFault] = {}
    for fault in faults:
        phases.setdefault(fault.phase, fault)
    return phases.values()


def described(fault: NumericsFault) -> str:
    """An operator's fault in a clause: where, what, how far off."""
    said = ", ".join(fault.inputs)
    place = f"{fault.phase}, {fault.module}" if fault.module else fault.phase
    tensor = f"{fault.dtype}{list(fault.shape)} {fault.layout}".strip()
    if fault.kind == "not_finite":
        return f"{place}: {fault.operator} is not finite, where it should be ({tensor})"
    if fault.kind == "random":
        return f"{place}: {fault.operator} is off by {fault.error:.2g}, at most {fault.allowed:.1g} is chance ({said})"
    return f"{place}: {fault.operator} is off by {fault.error:.1e}, at most {fault.allowed:.1e} is right ({tensor})"
