"""One device and several in turns: the plan of `torchlap scale`, and how it is measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.errors import UsageError
from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.measuring.context import Context, Status
from torchlap.measuring.group import GroupRun
from torchlap.measuring.plan import Options, plan_run
from torchlap.processes.crew import Crew
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.schema.events import Event, Failure, GroupStarted, LinkMeasured, RanksChecked, RanksDescribed, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.ranks import MOST_RANKS, Link, RankFacts, RankNumerics, Scaling
from torchlap.schema.recipe import Recipe
from torchlap.schema.replies import AllReduced, Description
from torchlap.schema.replies import RanksChecked as Checked
from torchlap.schema.replies import RanksDescribed as Described
from torchlap.schema.requests import AllReduce, CheckRanks, DescribeRanks
from torchlap.schema.workload import Cell, Group, Plan

SECONDS_PER_SIZE = 60.0
"""The default budget for each number of ranks, beside the time that starting its processes takes."""

LAPS_SHARE = 0.75
"""Of a size's time; what it leaves goes to all-reduces and checks."""

LINK_SECONDS = 3.0
USUAL_BATCH = 32
LONGEST_REASON = 1000
ALONE, TOGETHER, UNSYNCHRONIZED = 0, 1, 2
"""A group's cells, by their places; one that shards has no third."""


class Sizes(Struct, frozen=True, kw_only=True):
    """Which numbers of ranks, and on how many hosts.

    Attributes:
        ranks: None for 2, 4, 8 ... up to all devices of this host.
        total_batch: of all ranks together; None keeps the batch of each.
    """

    ranks: tuple[int, ...] | None = None
    total_batch: int | None = None
    nodes: int = 1


def plan_scale(options: Options, sizes: Sizes, description: Description) -> Plan:
    """The plan: for each number of ranks, one device, all ranks, and all ranks without synchronization.

    Args:
        options: with one model, at most one batch size and one recipe.
        sizes: the numbers of ranks.
        description: what torch offers here.

    Raises:
        UsageError: for what cannot be scaled here.
    """
    kind, available = _kind(options.devices, description.devices)
    ranks = _ranks(sizes, kind, available)
    first = kind if kind in ("cpu", "mps") else f"{kind}:0"
    batches = (sizes.total_batch,) if sizes.total_batch else options.batches or (USUAL_BATCH,)
    plan = plan_run(replace(options, devices=first, batches=batches), description)
    cell = replace(plan.groups[0].cells[0], recipe=options.recipes[0])
    if cell.workload.phase != "train":
        raise UsageError("torchlap scale measures training: omit --phase.")
    groups = tuple(Group(_cells(cell, kind, count, sizes)) for count in ranks)
    scaling = Scaling(
        kind="strong" if sizes.total_batch else "weak",
        ranks=ranks,
        nodes=sizes.nodes,
        total_batch=sizes.total_batch,
    )
    budget = options.budget_seconds or SECONDS_PER_SIZE * len(groups)
    return replace(plan, suite="scale", groups=groups, scaling=scaling, budget_seconds=budget, explain=False)


def _cells(cell: Cell, kind: str, ranks: int, sizes: Sizes) -> tuple[Cell, ...]:
    """One device, all ranks, and all ranks without synchronization."""
    workload, recipe, first = cell.workload, cell.recipe, cell.device
    alone, part = workload, workload
    if sizes.total_batch is not None:
        if sizes.total_batch % ranks:
            raise UsageError(
                f"A total batch of {sizes.total_batch} cannot be divided between {ranks} ranks: choose a multiple of "
                f"{ranks}."
            )
        alone = replace(workload, batch=sizes.total_batch)
        part = replace(workload, batch=sizes.total_batch // ranks)
    name = device_name(kind, ranks)
    cells = (Cell(alone, _of_one(recipe), first), Cell(part, recipe, name))
    if recipe.shard:
        return cells
    return (*cells, Cell(part, replace(recipe, no_sync=True), name))


def device_name(kind: str, ranks: int) -> str:
    """What several devices are called together, such as `2 x cuda`."""
    return f"{ranks} x {kind}"


def _of_one(recipe: Recipe) -> Recipe:
    """The recipe without what needs several ranks."""
    return replace(recipe, bucket=None, static_graph=False, shard=False)


def _kind(text: str, devices: Sequence[DeviceFacts]) -> tuple[str, int]:
    """The kind of device to scale over, and how many this host has; of CPUs, as many as one likes."""
    counts: dict[str, int] = {}
    for device in devices:
        counts[device.kind] = counts.get(device.kind, 0) + 1
    kind = text.strip()
    if kind == "all":
        kind = next((kind for kind, count in counts.items() if kind != "cpu" and count > 1), "")
        if not kind:
            others = [kind for kind in counts if kind != "cpu"]
            found = f"only one {others[0]} device" if others else "no accelerator"
            raise UsageError(f"torch finds {found}: to run several ranks on this CPU, add --devices cpu.")
    if kind not in counts:
        raise UsageError(
            f"torchlap scale needs a kind of device, not {text!r}: choose from {', '.join(counts)}, and the number "
            "with --ranks."
        )
    if kind == "mps":
        raise UsageError("torch.distributed has no backend for mps, of which a Mac has one: use --devices cpu.")
    return kind, MOST_RANKS if kind == "cpu" else counts[kind]


def _ranks(sizes: Sizes, kind: str, available: int) -> tuple[int, ...]:
    """The numbers of ranks of each group, over all hosts."""
    given = sizes.ranks
    if given is None:
        most = 2 if kind == "cpu" else available
        powers = [count for count in (2**power for power in range(1, 13)) if count < most]
        given = (*powers, most) if sizes.nodes == 1 else (most,)
    wanted = tuple(dict.fromkeys(count for count in given if count > 1 or sizes.nodes > 1))
    if not wanted:
        raise UsageError("torchlap scale compares one device with several: give --ranks a number from 2.")
    if max(wanted) > available:
        raise UsageError(
            f"--ranks {max(wanted)} needs as many {kind} devices, but this host has {available}: choose a smaller "
            "number, or use --nodes for several hosts."
        )
    if sizes.nodes > 1 and len(wanted) > 1:
        raise UsageError("With --nodes, give --ranks one number: the ranks of each host.")
    return tuple(count * sizes.nodes for count in wanted)


def check_options(options: Options, sizes: Sizes) -> None:
    """Make sure that there is one model, one recipe and one batch size.

    Raises:
        UsageError: for more, or for a batch both of each device and in all.
    """
    for what, values in (("model", options.models), ("recipe", options.recipes), ("batch size", options.batches or ())):
        if len(values) > 1:
            raise UsageError(f"torchlap scale measures one {what} at a time: give one.")
    if options.batches and sizes.total_batch:
        raise UsageError("--batch is the batch of each device, --total-batch that of all together: give one of them.")
    recipe = options.recipes[0]
    if recipe.no_sync:
        raise UsageError("torchlap scale measures no_sync beside every recipe: omit it.")
    if recipe.graph:
        raise UsageError("torchlap scale cannot capture a step that exchanges gradients as a graph: omit graph.")
    if recipe.shard and recipe.precision == "fp16":
        raise UsageError("The loss scaling of fp16 cannot follow gradients that FSDP2 shards: use bf16.")
    if recipe.shard and (recipe.bucket or recipe.static_graph):
        raise UsageError("bucket and static_graph are settings of DDP, and shard uses FSDP2 instead: omit them.")


class ScaleSession:
    """Measures a plan of `plan_scale`; every event goes to `emit` at once, what is being done to `watch`.

    Args:
        plan: what to measure.
        launchers: of ranks, by the device of the cells; that of one device is under "".
        threads: of a rank in a group, and why, by the number of ranks.
        emit: called with each event.
        watch: called with what is being done.
        clock: seconds.
        started: when the run began.
        hang_seconds: ranks that give no sign of life for so long are hung.
        devices: of this machine.
    """

    def __init__(
        self,
        plan: Plan,
        launchers: Mapping[str, Launcher],
        *,
        threads: Callable[[int], tuple[int, str]],
        emit: Callable[[Event], None],
        watch: Callable[[Status], None],
        clock: Callable[[], float],
        started: float,
        hang_seconds: float,
        devices: Sequence[DeviceFacts] = (),
    ) -> None:
        crew = Crew(launchers[""], launchers)
        self._emit = emit
        self._context = Context(
            plan, crew, emit=self._emit_all, watch=watch, clock=clock, started=started, hang_seconds=hang_seconds
        )
        self._threads, self._devices, self._users = threads, devices, GpuUsers()
        self._starting = 0.0
        """Seconds that starting processes took."""

    def measure(self) -> None:
        """Measure each number of ranks; one that fails does not keep the others from it.

        Raises:
            KeyboardInterrupt: when interrupted; every event up to then was emitted, and no rank is left.
            RunFileError: when an event could not be written.
        """
        context = self._context
        self._starting = context.clock() - context.started
        try:
            for number in range(len(context.plan.groups)):
                self._measure_group(number)
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        finally:
            context.crew.close()
        self._finish("complete")

    def _finish(self, reason: Literal["complete", "interrupted"]) -> None:
        wall = self._context.clock() - self._context.started
        start_up = min(wall, self._starting)
        self._context.emit(RunFinished(reason=reason, wall_seconds=wall, start_up_seconds=start_up))

    def _emit_all(self, event: Event) -> None:
        """Emit an event; if ranks fail together, there is nothing to compare unsynchronized steps with either."""
        if not isinstance(event, Failure):
            self._emit(event)
            return
        tally = self._context.ledger.tallies[event.group]
        if event.cell not in tally.failures:  # it may have failed with the other one
            self._emit(event)
        if event.cell == TOGETHER and len(tally.group.cells) > UNSYNCHRONIZED:
            self._context.emit(replace(event, cell=UNSYNCHRONIZED))

    def _measure_group(self, number: int) -> None:
        context, groups = self._context, self._context.plan.groups
        context.build_threads = self._threads(_scaling(context.plan).ranks[number])
        context.emit(GroupStarted(number))
        watch = Watch(self._devices, self._users, first=number == 0, clock=context.clock)  # before our own processes
        self._start(number)
        begun = context.clock()
        run_end = context.started + self._starting + context.plan.budget_seconds
        seconds = LAPS_SHARE * max(0.0, run_end - begun) / (len(groups) - number)
        context.end = begun + seconds
        positions = range(len(groups[number].cells))
        GroupRun(context, number, watch, positions).measure(seconds, 0.0, fresh=False)
        self._after_laps(number)
        context.crew.drop(TOGETHER)
        context.crew.release()

    def _start(self, number: int) -> None:
        """Start the ranks, which the budget does not pay for; those that do not start have no figures."""
        context = self._context
        begun = context.clock()
        cells = context.plan.groups[number].cells
        context.say(f"{cells[TOGETHER]}: starting the ranks")
        requests = {place: context.build_request(place, cell) for place, cell in enumerate(cells)}
        for place, failure in context.crew.start(requests, context.hang_seconds).items():
            if place not in context.ledger.tallies[number].failures:
                context.fail(number, place, failure.kind, failure.reason, failure.detail)
        self._starting += context.clock() - begun

    def _after_laps(self, number: int) -> None:
        """What the ranks are, what connects them, and whether their results agree."""
        context, scaling = self._context, _scaling(self._context.plan)
        try:
            self._describe(number)
            self._measure_link(number)
        except CellFailedError as failure:
            reason = f"{failure.kind}: {failure.reason}"[:LONGEST_REASON]
            link = Link(ranks=scaling.ranks[number], bytes=0, laps=(), reason=reason)
            context.emit(LinkMeasured(group=number, link=link))
        if context.plan.verify and TOGETHER not in context.ledger.tallies[number].failures:
            context.emit(RanksChecked(group=number, numerics=self._numerics(number)))

    def _describe(self, number: int) -> None:
        context, crew = self._context, self._context.crew
        for place in (ALONE, TOGETHER):
            if crew.holds(place):
                found = crew.ask(place, DescribeRanks(place), Described, context.hang_seconds)
                context.emit(RanksDescribed(group=number, cell=place, ranks=without_names(found.ranks)))

    def _measure_link(self, number: int) -> None:
        context, crew = self._context, self._context.crew
        if crew.holds(TOGETHER):
            context.say(f"{context.plan.groups[number].cells[TOGETHER]}: timing all-reduces")
            request = AllReduce(slot=TOGETHER, limit_seconds=LINK_SECONDS)
            reduced = crew.ask(TOGETHER, request, AllReduced, context.hang_seconds)
            context.emit(LinkMeasured(group=number, link=reduced.link))

    def _numerics(self, number: int) -> RankNumerics:
        """Whether the ranks together compute what one device would."""
        context = self._context
        crew, cell = context.crew, context.plan.groups[number].cells[TOGETHER]
        build = context.build_request(TOGETHER, cell)
        try:
            if not crew.holds(TOGETHER):
                crew.build_one(TOGETHER, build, context.hang_limit(cell))
            report = context.reporter(cell)
            request = CheckRanks(build=build)
            return crew.ask(TOGETHER, request, Checked, context.hang_limit(cell), report).numerics
        except CellFailedError as failure:
            return RankNumerics(reason=f"{failure.kind}: {failure.reason}"[:LONGEST_REASON])


def without_names(ranks: Sequence[RankFacts]) -> tuple[RankFacts, ...]:
    """The ranks, their hosts numbered in order, because a run file names no machine."""
    hosts = list(dict.fromkeys(rank.host for rank in ranks))
    return tuple(replace(rank, host=f"host {hosts.index(rank.host)}") for rank in ranks)


def _scaling(plan: Plan) -> Scaling:
    """How a plan scales.

    Raises:
        ValueError: for the plan of another command.
    """
    if plan.scaling is None:
        raise ValueError("the plan does not scale")
    return plan.scaling
