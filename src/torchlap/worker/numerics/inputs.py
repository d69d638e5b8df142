"""Inputs that provoke faults: tensors in unusual layouts, and freed memory full of NaN."""

import torch
from torch import Tensor

from torchlap.worker.cell.sources import IMAGE_DIMENSIONS

DIRTY_SIZES, DIRTY_TIMES = (1 << 12, 1 << 18, 1 << 22, 1 << 24), 4


def dirty(device: torch.device) -> None:
    """Leave NaN in the memory that the allocator hands out next, so that reading unwritten memory shows."""
    kept = [torch.full((size,), float("nan"), device=device) for size in DIRTY_SIZES for _ in range(DIRTY_TIMES)]
    del kept


def laid_out(values: Tensor, layout: str, device: torch.device) -> Tensor | None:
    """The values on the device in that layout; None if a tensor of their shape cannot have it."""
    on_device = values.to(device)
    if layout.endswith("channels_last"):
        if values.dim() != IMAGE_DIMENSIONS:
            return None
        on_device = on_device.contiguous(memory_format=torch.channels_last)
    if layout.startswith("sliced"):
        longer = torch.cat([on_device[:1], on_device])
        if "channels_last" in layout:
            longer = longer.contiguous(memory_format=torch.channels_last)
        return longer[1:]
    if layout == "transposed":
        return on_device.transpose(-1, -2).contiguous().transpose(-1, -2) if values.dim() > 1 else None
    if layout == "strided":
        return torch.stack([on_device, on_device], -1)[..., 0]
    return on_device
