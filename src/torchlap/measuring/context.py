"""What every part of a session shares: the plan, the clock and budget, and what is known so far."""

from collections.abc import Callable, Sequence
from random import Random

from msgspec import Struct

from torchlap.machine.facts import cpu_threads
from torchlap.measuring.schedule import Estimates, StepTime
from torchlap.processes.crew import Crew
from torchlap.runs.figures import Tally
from torchlap.schema.base import OUT_OF_TIME, FailureKind
from torchlap.schema.events import (
    CellPrepared,
    Event,
    Failure,
    IdleMeasured,
    NumericsChecked,
    PeaksMeasured,
    Round,
)
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import MemoryFormat, Precision
from torchlap.schema.requests import Build
from torchlap.schema.workload import Cell, Plan

COMPILE_FACTOR = 10
"""Compiling gives no sign of life, so a compiled cell may be silent for this many times as long."""

SEED = 1
LONGEST_TEXT = 20_000
"""Of a reason or a detail: `torchlap.schema.base.Text`."""


class Status(Struct, frozen=True):
    """What is going on, for a display: groups done, groups in all, what is being done, and the most time left."""

    done: int
    of: int
    doing: str
    left_seconds: float


class Ledger:
    """What is known so far, from the events of this session and, in a resumed run, of earlier ones."""

    def __init__(self, plan: Plan) -> None:
        self.tallies = [Tally(group) for group in plan.groups]
        self.steps: dict[Cell, StepTime] = {}
        """The shortest: a lap sized by the latest would be long after a fast one and short after a slow one."""
        self.formats: dict[Cell, MemoryFormat] = {}
        self.verified: dict[Cell, Numerics] = {}
        self.peaks: dict[str, set[Precision]] = {}
        """The precisions in which a device's peak is known, or known not to exist."""
        self.idle: set[str] = set()
        """Devices whose energy meter was read while nothing ran, or that are known to have none."""

    def learn(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case PeaksMeasured(peaks=peaks):
                self.peaks.setdefault(peaks.device, set()).update(peaks.flops, peaks.refused)
            case IdleMeasured(idle=idle):
                self.idle.add(idle.device)
            case _:
                pass
        number = getattr(event, "group", None)
        if number is not None:
            self.tallies[number].add(event)
            self._learn_of_cells(event, self.tallies[number].group.cells)

    def _learn_of_cells(self, event: Event, cells: tuple[Cell, ...]) -> None:
        match event:
            case CellPrepared(cell=position, preparation=preparation):
                self.steps[cells[position]] = StepTime(preparation.step_seconds, preparation.optimizer_seconds)
                self.formats[cells[position]] = preparation.memory_format
            case NumericsChecked(cell=position, numerics=Numerics(reason="") as numerics):
                self.verified.setdefault(cells[position], numerics)
            case Round(laps=laps):
                for lap in laps:
                    seconds = lap.seconds / lap.steps
                    known = self.steps.get(cells[lap.cell]) or StepTime(seconds)
                    self.steps[cells[lap.cell]] = StepTime(min(known.seconds, seconds), known.fixed)
            case _:
                pass

    def estimate(self, cell: Cell) -> float | None:
        """The expected seconds of a cell's step; None where nothing is known."""
        return Estimates(self.steps).of(cell)

    def format_of(self, cell: Cell, group: Sequence[Cell]) -> MemoryFormat:
        """The memory format that was chosen for the cell, its device in this group, or another batch, or `auto`.

        Recipes of one device are compared in one format, unless they name another.
        """
        if cell.recipe.memory_format != "auto":
            return "auto"
        for other in (cell, *group):
            if other in self.formats and other.device == cell.device and other.recipe.memory_format == "auto":
                return self.formats[other]
        return self._format_at_other_batch(cell)

    def _format_at_other_batch(self, cell: Cell) -> MemoryFormat:
        """The memory format that was faster for the same cell at another batch, or `auto`."""
        for other, memory_format in self.formats.items():
            same_workload = (other.workload.model, other.workload.phase) == (cell.workload.model, cell.workload.phase)
            if same_workload and (other.recipe, other.device, other.arm) == (cell.recipe, cell.device, cell.arm):
                return memory_format
        return "auto"


class Context:
    """The plan, the workers, the clock and the budget of a session; events pass through `emit` into the ledger.

    `end` is when the current phase of the session ends.
    """

    def __init__(
        self,
        plan: Plan,
        crew: Crew,
        *,
        emit: Callable[[Event], None],
        watch: Callable[[Status], None],
        clock: Callable[[], float],
        started: float,
        hang_seconds: float,
    ) -> None:
        self.plan, self.crew = plan, crew
        self.clock, self.started, self.hang_seconds = clock, started, hang_seconds
        self.end = started + plan.budget_seconds
        self.start = 0
        """How often the workers were started anew."""
        self.ledger = Ledger(plan)
        self.compiled_ahead: dict[Cell, float] = {}
        """Seconds of the first step of cells that were compiled in other processes."""
        self.not_compiled: dict[Cell, float] = {}
        """Cells that were not compiled ahead within so many seconds."""
        self.random = Random(SEED).random  # noqa: S311  lead-ins are no secret
        self._emit, self._watch = emit, watch
        self.build_threads = cpu_threads()
        self._arm_threads = {arm.name: cpu_threads(arm.environment) for arm in plan.arms}

    def left(self) -> float:
        """Seconds that are left of the current phase; negative when it is overrun."""
        return self.end - self.clock()

    def emit(self, event: Event) -> None:
        """Hand an event to the outside, which writes it down, then learn from it."""
        self._emit(event)
        self.ledger.learn(event)

    def build_request(self, slot: int, cell: Cell) -> Build:
        """The request to build a cell as the plan says, with its fair number of threads."""
        return build_request(self.plan, slot, cell, self._arm_threads.get(cell.arm, self.build_threads))

    @property
    def threads(self) -> int:
        """Of a cell on the CPU."""
        return self.build_threads[0]

    def hang_limit(self, cell: Cell) -> float:
        """How long a cell may be silent."""
        return hang_limit(cell, self.hang_seconds)

    def say(self, doing: str) -> None:
        """Report what is being done."""
        tallies = self.ledger.tallies
        done = sum(tally.stopped is not None for tally in tallies)
        self._watch(Status(done, len(tallies), doing, max(0.0, self.left())))

    def reporter(self, subject: object) -> Callable[[str], None]:
        """What reports the progress of a cell or device."""
        return lambda doing: self.say(f"{subject}: {doing}")

    def fail(self, group: int, cell: int, kind: FailureKind, reason: str, detail: str = "") -> None:
        """Record why a cell has no figure."""
        estimate = self.ledger.estimate(self.ledger.tallies[group].group.cells[cell])
        self.emit(
            Failure(
                group=group,
                cell=cell,
                kind=kind,
                reason=reason[:LONGEST_TEXT],
                detail=detail[-LONGEST_TEXT:],
                estimate_seconds=estimate if kind in OUT_OF_TIME else None,
            )
        )


def build_request(plan: Plan, slot: int, cell: Cell, threads: tuple[int, str]) -> Build:
    """The request to build a cell as the plan says, with this many threads, and why."""
    number, why = threads
    return Build(
        slot=slot,
        cell=cell,
        data=plan.data,
        weights=plan.weights,
        threads=number,
        threads_reason=why,
        items=plan.items,
        unit=plan.unit,
    )


def hang_limit(cell: Cell, hang_seconds: float) -> float:
    """How long a cell may be silent."""
    return hang_seconds * (COMPILE_FACTOR if cell.recipe.compile else 1)
