"""Where a step spends its time, and the rates that a device was measured to reach."""

from typing import Annotated

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Positive, Rate, Seconds, Span, Text
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import StepPhase

ATTENTION_KERNELS = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_flash_attention_for_cpu": "flash",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_scaled_dot_product_fused_attention_overrideable": "overrideable",
    "_scaled_dot_product_attention_math_for_mps": "mps",
    "_scaled_dot_product_attention_math": "math",
}
"""The kernels of torch.nn.functional.scaled_dot_product_attention, by their operators' names."""


class OperatorCost(Struct, frozen=True, kw_only=True):
    """Calls of one operator that cost the same.

    Attributes:
        flops: floating-point operations of matrix products; a multiply-add counts as two.
        bytes: each input read once and each result written once.
        pointwise: a compiler can fuse it.
    """

    phase: StepPhase
    operator: Name
    calls: Positive
    flops: Count
    bytes: Count
    pointwise: bool = False


class EnergyWindow(Struct, frozen=True):
    """The energy that a number of steps used."""

    joules: Annotated[float, Meta(ge=0, le=1e12)]
    seconds: Span
    steps: Positive


class LoaderRate(Struct, frozen=True):
    """How long a DataLoader with this many workers took for a number of batches, with nothing training meanwhile."""

    workers: Annotated[int, Meta(ge=0, le=1024)]
    batches: Positive
    seconds: Span


class Breakdown(Struct, frozen=True, kw_only=True):
    """Where a cell's step spends its time, from extra steps after the timed laps.

    Attributes:
        reason: why nothing was analyzed; empty if something was.
        phases: seconds of each phase, one value a step.
        steps: seconds of whole steps, run in turns with those split into phases.
        by_events: the device timed the phases while steps ran back to back; otherwise each phase was synchronized.
        operators: the operators of one step.
        attention: the kernels of scaled dot-product attention in one step, each with its number of calls.
        peak_memory_bytes: of the device; on the CPU, of the process.
        energy: empty where `no_energy` says why; `meter` names the instrument.
        left_out: what could not be analyzed, and why.
    """

    reason: Text = ""
    phases: dict[StepPhase, Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=10_000)]] = {}
    steps: tuple[Seconds, ...] = ()
    by_events: bool = False
    operators: tuple[OperatorCost, ...] = ()
    attention: Annotated[dict[Name, Positive], Meta(max_length=100)] = {}
    peak_memory_bytes: Count | None = None
    energy: tuple[EnergyWindow, ...] = ()
    meter: Text = ""
    no_energy: Text = ""
    loaders: tuple[LoaderRate, ...] = ()
    left_out: tuple[Text, ...] = ()
    seconds: Seconds = 0.0


class Peaks(Struct, frozen=True, kw_only=True):
    """The rates that a device was measured to reach.

    Attributes:
        flops: floating-point operations a second of a matrix product, by precision.
        copy_bytes: bytes a second, read plus written, of a copy within the device's memory.
        operator_seconds: host time to launch an operator that does next to nothing.
        refused: precisions that the device does not multiply in, each with its reason.
    """

    device: Name
    flops: dict[Precision, Rate] = {}
    copy_bytes: Rate | None = None
    operator_seconds: Span | None = None
    refused: dict[Precision, Text] = {}
    seconds: Seconds = 0.0
