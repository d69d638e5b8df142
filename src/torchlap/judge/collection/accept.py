"""One run file of a collection: which of its cells are accepted, and why the others are refused.

Everything is recomputed from the raw laps. What a file says about itself is not trusted further than it can be checked.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from torchlap.errors import RunFileError
from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.judge.findings import Finding, Rule
from torchlap.judge.measurement import conditions, voided
from torchlap.judge.numerics import verdict
from torchlap.runs.figures import CellResult, figures, peaks
from torchlap.schema.events import Round, Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import is_own_file
from torchlap.stats import Interval

RANKS = re.compile(r"(?P<count>\d+) x (?P<kind>\w+)")
"""What a cell of several ranks calls its devices."""

MOST_NAMES = 1000
"""Of processors and chips, that are kept as they are shown: the same ones come in many files."""

UNREADABLE = Rule(
    "TL801",
    "error",
    "run file cannot be read",
    "Only a whole run file of a known schema can be recomputed from its laps.",
    "Send the file as torchlap wrote it; if it is of a newer schema, update torchlap in the collection.",
)
PUBLISHED = Rule(
    "TL802",
    "error",
    "figures were not measured by torchlap",
    "The file says that its figures were published elsewhere, so there are no laps to check.",
    "Measure with torchlap run, and send that file.",
)
VOID = Rule(
    "TL803",
    "error",
    "result is void",
    "A speed from wrong results or from a loss that is not finite says nothing.",
    "See the finding in the file's own report, fix it, and measure again.",
)
ABOVE_OWN_PEAK = Rule(
    "TL804",
    "error",
    "faster than the measured peak of its own device",
    "The step's matrix products would run at over 100% utilization of what the device was measured to reach in the "
    "same run. The clock, the laps or the peak are wrong; the peak may be one of a device in use by others.",
    "Measure again on a quiet machine, with --why.",
)
TOO_LONG = Rule(
    "TL806",
    "error",
    "laps take longer than the run",
    "The laps of a run are timed one after the other, so their seconds cannot exceed those between its first and last "
    "event.",
    "Send the file as torchlap wrote it.",
)
OWN_MODEL = Rule(
    "TL809",
    "error",
    "model that others cannot build",
    "A model of your own file cannot be measured on another machine, so its figures can neither be compared nor "
    "reproduced.",
    "Measure torchvision, timm: or hf: models.",
)
VIRTUAL = Rule(
    "TL811",
    "note",
    "virtual machine, or hidden model of the processor",
    "A guest shares its processor with others, and may see only a part of it. The same name may stand for different "
    "hardware, so the figures are marked.",
    "Nothing to fix: prefer a machine of your own for comparisons of chips.",
)

HIDDEN = re.compile(r"\b(?:QEMU|KVM|Virtual|vCPU)\b|^(?:Intel Xeon|AMD EPYC)(?: Processor)?$", re.IGNORECASE)
"""The names of processors that a hypervisor hides: without a model."""

CLOCK_SLACK = 1.02
"""Laps and the run are timed by two processes."""

Key = tuple[str, int, str, str, int, str]
"""Model, batch, phase, recipe, tokens of a sequence (0 if none), unit: equal keys are the same work."""


class Machine(Struct, frozen=True, kw_only=True):
    """A machine of one owner, as far as its facts distinguish it: two alike count as one.

    Attributes:
        id: a hash of all other attributes but the system.
        chips: what its figures belong to, the processor first.
    """

    id: str
    owner: str
    cpu: str
    cores: int
    memory_gib: int
    chips: tuple[str, ...]
    system: str
    virtual: bool


class Entry(Struct, frozen=True, kw_only=True):
    """An accepted cell.

    Attributes:
        file: its run file, relative to the collection.
        machine: the id of its machine.
        torch: the version that it was measured with.
        value: items per second, with the limits of its interval; equal to it where the figure has no spread.
        flops: floating-point operations of a step's matrix products; 0 if unknown.
        numerics: correct, inexact or not checked; empty on a CPU, which is the reference.
        findings: codes of what disturbed the measurement.
        maintained: it comes with torchlap.
        published: it was published elsewhere, and copied by the maintainers.
        reproduced: another owner's figure agrees.
        outlier: how many times the median of its chip it is, if that is far from 1; otherwise 0.
    """

    key: Key
    file: str
    owner: str
    machine: str
    chip: str
    kind: str
    torch: str
    started: str
    value: float
    low: float
    high: float
    laps: int
    flops: int = 0
    utilization: float | None = None
    parameters: int = 0
    numerics: str = ""
    findings: tuple[str, ...] = ()
    virtual: bool = False
    maintained: bool = False
    published: bool = False
    reproduced: bool = False
    outlier: float = 0.0


class Submission(Struct, frozen=True, kw_only=True):
    """What is taken from one file.

    Attributes:
        digest: of its laps: two files with the same laps are copies.
        peaks: floating-point operations a second that its devices were measured to reach, by chip and precision.
        refused: findings whose place is the file, or one of its cells.
    """

    file: str
    owner: str
    started: str = ""
    digest: str = ""
    machine: Machine | None = None
    entries: tuple[Entry, ...] = ()
    peaks: dict[str, dict[Precision, float]] = {}
    refused: tuple[Finding, ...] = ()


def unreadable(file: str, owner: str, error: RunFileError) -> Submission:
    """A file that cannot be read."""
    return Submission(file=file, owner=owner, refused=(UNREADABLE.finding(file, str(error).rstrip(".")),))


def accepted(file: str, owner: str, run: Run, *, maintained: bool = False) -> Submission:
    """Check one run file, and take its valid cells.

    Args:
        file: its name, which findings and pages use.
        owner: who sent it; empty if unknown.
        run: its content.
        maintained: it comes with torchlap, which may also show published figures.
    """
    refusal = None if maintained else next(_of_the_file(file, run), None)
    if refusal is not None:
        return Submission(file=file, owner=owner, refused=(refusal,))
    facts = run.header.facts
    measured, machine = peaks(run), _machine(owner, facts)
    entries: list[Entry] = []
    refused: list[Finding] = []
    for group in figures(run, speed_ups=False):
        disturbances = tuple(dict.fromkeys(finding.code for finding in conditions.findings(group)))
        for cell in group.cells:
            analysis = bottleneck(cell, measured.get(cell.cell.device))
            refusal = _refusal(file, cell, analysis)
            if refusal is not None:
                refused.append(refusal)
            elif _counts(run, cell):
                entry = _entry(run, machine, cell, analysis)
                entries.append(replace(entry, file=file, maintained=maintained, findings=disturbances))
    return Submission(
        file=file,
        owner=owner,
        started=run.header.started,
        digest=_digest(run),
        machine=machine,
        entries=tuple(entries),
        peaks={_chip(facts, device): dict(found.flops) for device, found in measured.items()},
        refused=tuple(refused),
    )


def _counts(run: Run, cell: CellResult) -> bool:
    """Whether a cell has a figure; that of ranks that exchange nothing is none, because they do not train one model."""
    has_figure = bool(cell.throughput or (run.header.published and cell.estimate))
    return has_figure and not cell.cell.recipe.no_sync


def _of_the_file(file: str, run: Run) -> Iterator[Finding]:
    """Reasons to refuse the whole file."""
    if run.header.published:
        yield PUBLISHED.finding(file, "the header names a publication")
    laps = sum(lap.seconds for event in run.events if isinstance(event, Round) for lap in event.laps)
    wall = [event.wall_seconds for event in run.events if isinstance(event, RunFinished)]
    if wall and laps > CLOCK_SLACK * wall[-1]:
        yield TOO_LONG.finding(file, f"laps of {laps:.1f} s in a run of {wall[-1]:.1f} s")


def _refusal(file: str, cell: CellResult, analysis: Bottleneck | None) -> Finding | None:
    """Why a cell is refused; None for one that is accepted, and for one without a figure."""
    figure = cell.throughput
    if figure is None:
        return None
    found = _reason(cell, figure, analysis)
    return found[0].finding(f"{file}: {cell.cell}", found[1]) if found else None


def _reason(cell: CellResult, figure: Interval, analysis: Bottleneck | None) -> tuple[Rule, str] | None:
    """The rule that refuses a cell, and the evidence."""
    if is_own_file(cell.cell.workload.model):
        return OWN_MODEL, "the model is a function of a file"
    if void := voided(cell) or _wrong(cell):
        return VOID, void
    utilization = analysis.utilization if analysis else None
    if utilization is not None and utilization * figure.low / figure.value > 1:
        return ABOVE_OWN_PEAK, f"utilization {utilization:.2f}"
    return None


def _entry(run: Run, machine: Machine, cell: CellResult, analysis: Bottleneck | None) -> Entry:
    """A cell that is accepted; its file, and what disturbed it, are not known here."""
    header, figure, device = run.header, cell.throughput, cell.cell.device
    value = figure.value if figure else cell.estimate or 0.0
    return Entry(
        key=_key(cell),
        file="",
        owner=machine.owner,
        machine=machine.id,
        chip=_chip(header.facts, device),
        kind=_kind(header.facts, device),
        torch=_torch(run, cell.cell.arm),
        started=header.started,
        value=value,
        low=figure.low if figure else value,
        high=figure.high if figure else value,
        laps=len(cell.laps),
        flops=analysis.flops if analysis else 0,
        utilization=analysis.utilization if analysis else None,
        parameters=cell.prepared.parameters if cell.prepared else 0,
        numerics="" if device == "cpu" else verdict(cell.numerics),
        virtual=machine.virtual,
        published=bool(header.published),
    )


def _wrong(cell: CellResult) -> str:
    is_wrong = cell.cell.device != "cpu" and verdict(cell.numerics) == "wrong"
    return "numerics: wrong" if is_wrong else ""


def _key(cell: CellResult) -> Key:
    workload, recipe = cell.cell.workload, str(cell.cell.recipe)
    return workload.model, workload.batch, workload.phase, recipe, workload.seq or 0, workload.unit


def _torch(run: Run, arm: str) -> str:
    """The version of torch that a cell ran with: its arm's, or the machine's."""
    packages = next((each.packages for each in run.header.plan.arms if each.name == arm and each.packages), None)
    return (packages or run.header.facts.packages).get("torch", "")


def _kind(facts: Facts, device: str) -> str:
    ranks = RANKS.fullmatch(device)
    return ranks["kind"] if ranks else next((each.kind for each in facts.devices if each.name == device), device)


def _chip(facts: Facts, device: str) -> str:
    """The hardware behind a device; a processor with the cores that torch may use; of several ranks, their number."""
    ranks = RANKS.fullmatch(device)
    if ranks:
        first = next((each.name for each in facts.devices if each.kind == ranks["kind"]), ranks["kind"])
        return f"{ranks['count']} x {_chip(facts, first)}"
    known = next((each for each in facts.devices if each.name == device), None)
    if known is None or known.kind == "cpu":
        return f"{_plain(facts.cpu)}, {facts.usable_cores} cores"
    return _plain(known.model) or known.kind


@lru_cache(MOST_NAMES)
def _plain(model: str) -> str:
    return " ".join(re.sub(r"\((?:R|TM|C)\)", " ", model, flags=re.IGNORECASE).split())


def is_virtual(facts: Facts) -> bool:
    """Whether the machine is a virtual one, or its processor's name is hidden as in one."""
    return facts.virtual or HIDDEN.search(_plain(facts.cpu)) is not None


def _machine(owner: str, facts: Facts) -> Machine:
    chips = tuple(dict.fromkeys([_chip(facts, "cpu"), *(_chip(facts, device.name) for device in facts.devices)]))
    memory = round(facts.memory_bytes / 2**30)
    counts = [device.model for device in facts.devices]
    text = repr((owner, facts.cpu, facts.usable_cores, memory, chips, counts, facts.virtual))
    return Machine(
        id=hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12],
        owner=owner,
        cpu=_plain(facts.cpu),
        cores=facts.usable_cores,
        memory_gib=memory,
        chips=chips,
        system=facts.system,
        virtual=is_virtual(facts),
    )


def _digest(run: Run) -> str:
    """A hash of all laps."""
    laps = [lap.seconds for event in run.events if isinstance(event, Round) for lap in event.laps]
    return hashlib.sha256(msgspec.json.encode(laps)).hexdigest()
