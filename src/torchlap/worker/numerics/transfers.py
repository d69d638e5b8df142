"""Do values reach the device as they are?"""

import torch
from torch import Tensor
from torch.utils import _pytree

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.cell.bench import Bench
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.faults import Where, fault_of

SEED = 7
MOST_ELEMENTS = 1 << 24
"""Of all tensors that are sent."""


def check_transfers(bench: Bench) -> list[NumericsFault]:
    """Send random values in the shapes and types of the inputs, targets, parameters and buffers, and read them back.

    They are read as vectors, so that what is done to a shape on its way is not undone on the way back.
    """
    own = _pytree.tree_leaves(bench.subject.batch)
    sent_by_step = [value for value in own if isinstance(value, Tensor) and value.layout == torch.strided]
    kinds = {(tuple(value.shape), value.dtype) for value in (*bench.module.state_dict().values(), *sent_by_step)}
    kinds.add(((bench.cell.workload.batch,), torch.int64))
    generator, faults, total = torch.Generator().manual_seed(SEED), [], 0
    for shape, dtype in [(tuple(bench.input_shape), torch.float32), *sorted(kinds, key=str)]:
        values = _random(shape, dtype, generator)
        total += values.numel()
        if not values.numel() or total > MOST_ELEMENTS:
            continue
        sent = values.to(bench.device)
        changed = float((sent.reshape(-1).cpu() != values.reshape(-1)).double().mean())
        if changed:
            where, evidence = Where("transfer", ""), (f"{changed:.0%} of the values",)
            deviation = Deviation(changed, changed)
            faults.append(
                fault_of("wrong", where, "copy to the device", sent, deviation=deviation, limit=0.0, inputs=evidence)
            )
    return faults


def _random(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype.is_complex:
        return torch.complex(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)).to(dtype)
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max, shape, generator=generator, dtype=dtype)
