"""Check whether devices compute correct results."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from msgspec import Struct
from msgspec.structs import replace

from torchlap import __version__
from torchlap.api.workbench import Watcher, Workbench, check_models, workbench
from torchlap.judge.numerics import CellNumerics, Verification
from torchlap.machine.facts import cpu_threads
from torchlap.measuring.lanes import SLOT, Check, check_numerics, check_together, lanes_of
from torchlap.measuring.plan import Options, parse_suite, plan_run
from torchlap.processes.crew import Crew
from torchlap.processes.failures import CellFailedError
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.replies import Description, SuiteChecked
from torchlap.schema.requests import CheckSuite, Verify
from torchlap.schema.workload import Cell, Plan

VERIFY_SECONDS = 3600.0
OUT_OF_TIME = "out of time; raise --budget"


def verify(
    options: Options | None = None,
    *,
    suite: bool = True,
    thorough: bool = False,
    seed: int = 0,
    watch: Watcher = lambda _: None,
) -> Verification:
    """Check whether devices compute correct results: a step of each cell against float64, and the operator suite.

    Args:
        options: which models, devices, batches, phases and recipes; the budget covers all checks together. If omitted,
            the default suite's models at their smallest batch, on every accelerator, or on the CPU if there is none.
        suite: also run the operator suite on each device.
        thorough: compare every element of every operator instead of parts and combinations, and run the operator suite
            at its large sizes, too.
        seed: chooses the parts and combinations; the same seed repeats a check exactly.
        watch: called with what is being done.

    Returns:
        The result for each cell; a cell whose check failed or was interrupted has the reason.

    Raises:
        UsageError: for a model, device or recipe that does not exist.
        InstallError: when torch or torchvision cannot be used.
        KeyboardInterrupt: when interrupted before the first cell was checked.
    """
    options = options or Options()
    with workbench() as bench:
        end = time.monotonic() + (options.budget_seconds or VERIFY_SECONDS)
        plan = plan_run(_of_accelerators(options, bench.description), bench.description)
        plan = check_models(bench, plan, options.hang_seconds, strict=options.batches is not None)
        checks = Checks(bench, plan, options.hang_seconds, end, watch, thorough, seed)
        cells = [cell for group in plan.groups for cell in group.cells]
        return run_checks(bench.machine, cells, checks.numerics, checks.suite if suite else None)


def run_checks(
    machine: Facts,
    cells: Sequence[Cell],
    check: Callable[[Sequence[Cell]], Generator[tuple[Cell, Numerics]]],
    check_suite: Callable[[str], OperatorSuite] | None,
) -> Verification:
    """Check cells and devices until interrupted; an interrupt before the first result is raised again."""
    results: dict[Cell, Numerics] = {}
    suites: list[OperatorSuite] = []
    interrupted = False
    try:
        with closing(check(cells)) as checked:
            for cell, numerics in checked:
                results[cell] = numerics  # noqa: PERF403  an interrupt keeps what is there
        if check_suite:
            for name in dict.fromkeys(cell.device for cell in cells):
                suites.append(check_suite(name))  # noqa: PERF401  likewise
    except KeyboardInterrupt:
        if not results:
            raise
        interrupted = True
    left_out = Numerics(reason="interrupted")
    return Verification(
        torchlap=__version__,
        facts=machine,
        cells=tuple(CellNumerics(cell, results.get(cell, left_out)) for cell in cells),
        suites=tuple(suites),
        interrupted=interrupted,
    )


def _of_accelerators(options: Options, description: Description) -> Options:
    """The options, on accelerators only where `all` devices are requested, and at the suite's smallest batch."""
    accelerators = ",".join(device.name for device in description.devices if device.kind != "cpu")
    devices = accelerators or "cpu" if options.devices == "all" else options.devices
    suite = parse_suite(options.suite)
    batches = options.batches or (None if suite.batch_of and not options.models else (min(suite.batches),))
    return replace(options, devices=devices, batches=batches)


class Checks(Struct, frozen=True):
    """Checks cells and devices until `end`; several accelerator cells are checked at the same time."""

    bench: Workbench
    plan: Plan
    hang_seconds: float
    end: float
    watch: Watcher
    thorough: bool
    seed: int = 0

    def numerics(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, Numerics]]:
        """Check a step of each cell."""
        threads = cpu_threads()
        on_cpu = any(cell.device == "cpu" for cell in cells)
        lanes = 1 if on_cpu else min(lanes_of(threads[0], self.bench.machine.devices), len(cells))
        crews = [Crew(self.bench.processes) for _ in range(max(1, lanes))]
        jobs = ((cell, self._check_of(cell, alone=lanes == 1)) for cell in cells)
        yield from check_together(crews, self.plan, jobs, threads)

    def _check_of(self, cell: Cell, *, alone: bool) -> Check:
        left = self.end - time.monotonic()
        if left <= 0:
            return lambda _crew, _build: Numerics(reason=OUT_OF_TIME)
        self.watch(f"{cell}: building")
        request = Verify(slot=SLOT, limit_seconds=left, sampled=not self.thorough, seed=self.seed)
        report = (lambda doing: self.watch(f"{cell}: {doing}")) if alone else lambda _: None
        return lambda crew, build: check_numerics(crew, build, request, self.hang_seconds, report)

    def suite(self, device: str) -> OperatorSuite:
        """Run the operator suite on a device, as far as the time allows."""
        left = self.end - time.monotonic()
        if left <= 0:
            return OperatorSuite(device=device, calls=0, faults=(), fault_count=0, skipped=(OUT_OF_TIME,))
        worker = self.bench.processes.start()
        request = CheckSuite(device=device, thorough=self.thorough, limit_seconds=left)
        try:
            reply = worker.ask(request, SuiteChecked, self.hang_seconds, lambda doing: self.watch(f"{device}: {doing}"))
        except CellFailedError as failure:
            why = f"the operator suite failed ({failure.kind}): {failure.reason}"
            return OperatorSuite(device=device, calls=0, faults=(), fault_count=0, skipped=(why,))
        finally:
            worker.kill()
        return reply.found
