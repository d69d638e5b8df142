"""Does every parameter change under an optimizer, and as it does in float64?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.numerics.deviation import deviation_of
from torchlap.worker.numerics.faults import Where, fault_of
from torchlap.worker.numerics.inputs import laid_out
from torchlap.worker.numerics.tolerance import allowed

SEED = 5
STEPS = 20
SHAPE = (4, 3, 5, 6)
LAYOUTS = ("contiguous", "transposed", "channels_last", "sliced", "strided")
ISSUE = "#118115"
TRAJECTORY = 4.0
"""Times the limit of one operator: rounding adds up over the steps."""

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, foreach=False),
    "RMSprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01),
}


def check_optimizers(device: torch.device) -> list[NumericsFault]:
    """Run each optimizer on a parameter of each layout for twenty steps, beside float64 on the CPU."""
    faults = [_check(name, layout, device) for name in OPTIMIZERS for layout in LAYOUTS]
    return [fault for fault in faults if fault is not None]


def _check(name: str, layout: str, device: torch.device) -> NumericsFault | None:
    make = OPTIMIZERS[name]
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(SEED))
    on_device = laid_out(start, layout, device)
    if on_device is None:
        return None
    got, right = _trajectory(on_device, make).cpu(), _trajectory(start.double(), make)
    deviation = deviation_of(got.double() - start.double(), right - start.double())
    own = deviation_of(_trajectory(start, make) - start, right - start.double())
    limit = TRAJECTORY * allowed(own.error, start.numel())
    unchanged = torch.equal(got, start)
    if not unchanged and deviation.error <= limit:
        return None
    where = Where("optimizer", f"{name}, {STEPS} steps ({layout}, see {ISSUE})")
    evidence = ("a parameter did not change",) if unchanged else ()
    return fault_of("wrong", where, name, on_device, deviation=deviation, limit=limit, inputs=evidence)


def _trajectory(start: Tensor, make: MakeOptimizer) -> Tensor:
    """Where the parameter is after the steps; the values of `start` are restored."""
    parameter = nn.Parameter(start.detach())
    with torch.no_grad():
        kept = parameter.detach().clone(memory_format=torch.preserve_format)
    optimizer = make([parameter])
    for number in range(STEPS):
        gradient = torch.randn(start.shape, generator=torch.Generator().manual_seed(number)).to(start.dtype)
        parameter.grad = torch.empty_like(parameter).copy_(gradient.to(start.device))
        optimizer.step()
    moved = parameter.detach().clone()
    with torch.no_grad():
        parameter.copy_(kept)
    return moved
