"""The rates that a device reaches: matrix products in each precision, copies within its memory, tiny operators.

They are measured, not taken from a data sheet: what this device does with this torch at its best, in tenths of a
second.
"""

import time
from collections.abc import Callable, Collection
from math import inf

import torch
from torch import Tensor

from torchlap.schema.breakdown import Peaks
from torchlap.schema.recipe import Precision
from torchlap.worker import devices
from torchlap.worker.breakdown.costs import Costs
from torchlap.worker.errors import RefusedError, first_line

MEASUREMENT_SECONDS = 0.3
"""At most for each measurement, unless a single call takes longer."""

BLOCK_SECONDS, BLOCKS = 0.01, 3
"""At least for each reading of the clock; and the number of blocks for a size, including the untimed first call."""

SMALLEST, LARGEST = 256, 8192
"""Rows of the square matrices that are multiplied, doubled as long as there is time."""

COPY_BYTES = 256 << 20
"""Far more than caches hold."""

MEMORY_SHARE = 16
CHAIN, CHAINS = 100, 10
TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def measure(
    name: str, first: Precision, known: Collection[Precision], limit_seconds: float, report: Callable[[str], None]
) -> Peaks:
    """Measure what a device reaches; changes how it multiplies float32.

    Args:
        name: of the device.
        first: the precision to start with.
        known: precisions that are left out, because they were measured before. If there are any, so were copies and
            tiny operators.
        limit_seconds: after which no further precision is started.
        report: called with what is being measured.
    """
    begun = time.perf_counter()
    device = devices.select(name)
    synchronize = devices.synchronizer(device)
    report("measuring the device's peaks")
    copied = None if known else _copy_bytes(device, synchronize)
    operator = None if known else operator_seconds(device)
    flops: dict[Precision, float] = {}
    refused: dict[Precision, str] = {}
    for precision in sorted(set(TYPES) - set(known), key=lambda precision: (precision != first, precision)):
        if (flops or known) and time.perf_counter() - begun > limit_seconds:
            break
        report(f"measuring the device's peaks in {precision}")
        try:
            devices.set_precision(precision, device)
            flops[precision] = _product_flops(TYPES[precision], device, synchronize)
        except (RefusedError, NotImplementedError, RuntimeError) as error:
            refused[precision] = first_line(error)
    return Peaks(
        device=name,
        flops=flops,
        copy_bytes=copied,
        operator_seconds=operator,
        refused=refused,
        seconds=time.perf_counter() - begun,
    )


def _best_rate(work: float, run: Callable[[], object], synchronize: Callable[[], None], seconds: float) -> float:
    """The most work a second, over blocks of calls within the time, at least one. The first call is not timed."""
    run()
    synchronize()
    best, calls, end = 0.0, 1, time.perf_counter() + seconds
    while True:
        begun = time.perf_counter()
        for _ in range(calls):
            run()
        synchronize()
        spent = time.perf_counter() - begun
        if spent >= BLOCK_SECONDS or best:
            best = max(best, work * calls / spent)
        else:
            calls *= 2
        if best and time.perf_counter() + spent > end:
            return best


def _product_flops(dtype: torch.dtype, device: torch.device, synchronize: Callable[[], None]) -> float:
    """Floating-point operations a second of the fastest square matrix product."""
    small = torch.rand(SMALLEST, SMALLEST, device=device).to(dtype)
    torch.mm(small, small)  # the first product loads the library
    synchronize()
    end = time.perf_counter() + MEASUREMENT_SECONDS
    best, size, next_seconds = 0.0, SMALLEST, 0.0
    while size <= LARGEST and (not best or time.perf_counter() + next_seconds < end):
        try:
            rate = _product_rate(size, dtype, device, synchronize)
        except RuntimeError:  # out of memory, by whatever name the device has for it
            if not best:
                raise
            return best
        best, size = max(best, rate), 2 * size
        next_seconds = BLOCKS * max(BLOCK_SECONDS, 2.0 * size**3 / rate)
    return best


def _product_rate(size: int, dtype: torch.dtype, device: torch.device, synchronize: Callable[[], None]) -> float:
    left, right = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return _best_rate(2.0 * size**3, lambda: torch.mm(left, right, out=out), synchronize, 2 * BLOCK_SECONDS)


def _copy_bytes(device: torch.device, synchronize: Callable[[], None]) -> float:
    """Bytes a second, read plus written, of copying a large tensor."""
    total = devices.memory_bytes(device) or inf
    elements = int(min(COPY_BYTES, total / MEMORY_SHARE)) // 4
    source, target = torch.ones(elements, device=device), torch.zeros(elements, device=device)
    return _best_rate(8.0 * elements, lambda: target.copy_(source), synchronize, MEASUREMENT_SECONDS / 2)


def operator_seconds(device: torch.device) -> float:
    """Host time of an operator that does next to nothing, in a training step that consists of such operators."""
    weight = torch.ones(1, device=device, requires_grad=True)

    def chain() -> None:
        value: Tensor = weight
        for _ in range(CHAIN):
            value = value * weight
        torch.autograd.backward(value)
        weight.grad = None

    with Costs() as costs:
        chain()
    calls = sum(cost.calls for cost in costs.counted())
    best = inf
    for _ in range(CHAINS):
        devices.synchronizer(device)()
        begun = time.perf_counter()
        chain()
        best = min(best, time.perf_counter() - begun)
    return best / calls
