"""Builders for the tests: facts, a plan, a header, and a run from lists of lap seconds."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from torchlap.schema.base import FailureKind
from torchlap.schema.breakdown import Breakdown, EnergyWindow, LoaderRate, OperatorCost, Peaks
from torchlap.schema.events import (
    SCHEMA,
    BreakdownMeasured,
    CellPrepared,
    Event,
    Failure,
    GroupFinished,
    GroupStarted,
    Header,
    Lap,
    NumericsChecked,
    PeaksMeasured,
    Preparation,
    Round,
    Run,
    RunFinished,
)
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.numerics import Numerics, NumericsFault
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Phase, Plan, Workload

FP32 = Recipe()
CPU = DeviceFacts("cpu", "cpu")
CUDA = DeviceFacts("cuda:0", "cuda", "NVIDIA H200", 139 * 2**30)
MPS = DeviceFacts("mps", "mps", "Apple M1 Max")

FAULT = NumericsFault(
    kind="wrong",
    phase="backward",
    module="layer1 (Conv2d)",
    operator="aten.convolution_backward.default",
    result=1,
    shape=(4, 3),
    dtype="float32",
    layout="contiguous",
    error=0.01,
    worst=0.1,
    allowed=1e-5,
)
"""An operator whose result is off by 1%."""

FACTS = Facts(
    cpu="Fast Processor 9",
    physical_cores=8,
    usable_cores=8,
    memory_bytes=32 * 2**30,
    system="Linux 6.8",
    architecture="x86_64",
    python="3.11.9",
    packages={"torch": "2.13.0", "torchvision": "0.28.0"},
    environment={},
    devices=(CPU, CUDA),
    looked_for="Looked for CUDA (available).",
)


def facts(**changes: Any) -> Facts:
    """The facts of a machine with one CUDA device, with changes."""
    return replace(FACTS, **changes)


def cell(
    device: str = "cpu", *, model: str = "resnet18", batch: int = 4, phase: Phase = "train", recipe: Recipe = FP32
) -> Cell:
    """A cell, by default in fp32 on the CPU."""
    return Cell(Workload(model, batch, phase), recipe, device)


def pair(*, model: str = "resnet18", batch: int = 4) -> Group:
    """The CPU, which is the baseline, and the CUDA device."""
    return Group((cell("cpu", model=model, batch=batch), cell("cuda:0", model=model, batch=batch)))


def plan(*groups: Group, **changes: Any) -> Plan:
    """A plan of these groups, by default of one pair."""
    return replace(Plan(suite="quick", groups=groups or (pair(),)), **changes)


def header(of: Plan | None = None, machine: Facts = FACTS) -> Header:
    """A run file's first line."""
    return Header(schema=SCHEMA, torchlap="0.1.0", started="2026-01-02T03:04:05Z", facts=machine, plan=of or plan())


def rounds(
    *lap_seconds: Sequence[float | None], group: int = 0, steps: int = 1, loss: float = 2.5
) -> tuple[Round, ...]:
    """Rounds from a list of lap seconds for each cell, in the plan's order; None where a cell has no lap."""
    return tuple(
        Round(
            group,
            0.0,
            tuple(Lap(number, steps, seconds, loss) for number, seconds in enumerate(of_round) if seconds is not None),
        )
        for of_round in zip(*lap_seconds, strict=True)
    )


def prepared(number: int = 0, *, group: int = 0, **changes: Any) -> CellPrepared:
    """A cell that is warm and steady, with changes."""
    warm = Preparation(
        first_step_seconds=0.25,
        warm_up_steps=10,
        warm_up_seconds=1.5,
        steady=True,
        step_seconds=0.1,
        optimizer_seconds=0.01,
        synchronize_seconds=1e-5,
        first_loss=2.75,
        memory_format="contiguous",
        threads=8,
        input_shape=(4, 3, 224, 224),
        parameters=11_689_512,
    )
    return CellPrepared(group=group, cell=number, preparation=replace(warm, **changes))


def explained(number: int = 0, *, group: int = 0, **changes: Any) -> BreakdownMeasured:
    """The breakdown of a step of 0.1 s: most of it is a backward product of 10 GFLOP."""
    breakdown = Breakdown(
        phases={
            "input": (0.0001,) * 3,
            "transfer": (0.0009,) * 3,
            "forward": (0.029, 0.03, 0.031),
            "backward": (0.06,) * 3,
            "optimizer": (0.009,) * 3,
        },
        steps=(0.1,) * 3,
        operators=(
            OperatorCost(phase="forward", operator="relu_", calls=20, flops=0, bytes=10**7, pointwise=True),
            OperatorCost(phase="backward", operator="mm", calls=1, flops=10**10, bytes=10**6),
            OperatorCost(phase="optimizer", operator="addcdiv_", calls=60, flops=0, bytes=10**6, pointwise=True),
        ),
        peak_memory_bytes=3 * 2**30,
        no_energy="Energy: nobody reads it here.",
        seconds=1.5,
    )
    return BreakdownMeasured(group=group, cell=number, breakdown=replace(breakdown, **changes))


def reached(device: str = "cpu", **changes: Any) -> PeaksMeasured:
    """A device that multiplies at 0.2 TFLOP/s and copies at 10 GB/s."""
    peaks = Peaks(
        device=device, flops={"fp32": 2e11, "bf16": 1e12}, copy_bytes=1e10, operator_seconds=1e-6, seconds=0.8
    )
    return PeaksMeasured(replace(peaks, **changes))


def failure(
    number: int = 0, kind: FailureKind = "crash", reason: str = "It stopped.", *, group: int = 0, **changes: Any
) -> Failure:
    """Why a cell has no result."""
    return replace(Failure(group=group, cell=number, kind=kind, reason=reason), **changes)


def verified(of: Plan) -> tuple[NumericsChecked, ...]:
    """Every cell of an accelerator computes correct results."""
    return tuple(
        NumericsChecked(group=number, cell=position, numerics=Numerics(operators=100, products=10, closest=0.5))
        for number, group in enumerate(of.groups)
        for position, planned in enumerate(group.cells)
        if planned.device != "cpu"
    )


def run(
    events: Sequence[Event] = (), of: Plan | None = None, machine: Facts = FACTS, remarks: Sequence[str] = ()
) -> Run:
    """A run of that plan with these events, and with correct results."""
    correct = verified(of or plan())
    written: list[Event] = [*correct]
    for event in events:
        written.append(event)
        if isinstance(event, GroupStarted):
            written += [check for check in correct if check.group == event.group]
    return Run(header(of, machine), tuple(written), tuple(remarks))


WHOLE_RUN = Run(
    header(plan(pair(), pair(batch=64)), facts(environment={"OMP_NUM_THREADS": "4"})),
    (
        GroupStarted(0),
        NumericsChecked(
            group=0, cell=1, numerics=Numerics(operators=9, closest=0.5, faults=(FAULT,), spread=1e-7, spread_of="loss")
        ),
        prepared(0, choices=("threads: 8",)),
        prepared(1),
        *rounds([0.1, 0.11], [0.02, None], steps=3),
        Round(0, 2.5, (Lap(0, 3, 0.12, 2.25, items=11),)),
        GroupFinished(0, "precise"),
        explained(0, energy=(EnergyWindow(1.5, 0.25, 3),), loaders=(LoaderRate(2, 10, 0.5),), meter="a meter"),
        reached("cuda:0", refused={"tf32": "It has none."}),
        failure(1, "out_of_memory", "No memory.", group=1, detail="A long\nstory.", estimate_seconds=2.5),
        RunFinished(reason="complete", wall_seconds=98.5, start_up_seconds=7.25),
    ),
)
"""A run with an event of every kind."""
