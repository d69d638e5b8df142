"""How ranks are connected: all-reduces of the gradients' size, and what NCCL and NVIDIA's driver say."""

import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from pathlib import Path

import torch
from torch import distributed

from torchlap.schema.ranks import Link, LinkLap
from torchlap.worker.ranks.together import Together

LAP_SECONDS, MOST_LAPS, WARM_UPS = 0.05, 20, 3
VIA = re.compile(r" via ([A-Z][\w/.-]*)")
"""In NCCL's log: `Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM`."""

NVLINKS = 18
"""An H100 has as many; others have fewer."""

FLOAT_BYTES = 4


def measure(
    size: int, device: torch.device, synchronize: Callable[[], None], together: Together, limit_seconds: float
) -> Link:
    """Time all-reduces of one tensor of `size` bytes, in laps as long as those of steps."""
    values = torch.zeros(max(1, size // FLOAT_BYTES), device=device)
    size = values.numel() * FLOAT_BYTES
    if together.ranks == 1:
        return Link(ranks=1, bytes=size, laps=())

    def timed(count: int) -> float:
        synchronize()
        together.wait()
        begun = time.perf_counter()
        for _ in range(count):
            distributed.all_reduce(values)
        synchronize()
        return together.longest(time.perf_counter() - begun)

    for _ in range(WARM_UPS):
        once = timed(1)
    count = max(1, ceil(LAP_SECONDS / once))
    laps, spent = list[LinkLap](), 0.0
    while len(laps) < MOST_LAPS and (len(laps) < WARM_UPS or spent + count * once < limit_seconds):
        seconds = timed(count)
        laps.append(LinkLap(count, seconds))
        spent += seconds
    return Link(ranks=together.ranks, bytes=size, laps=tuple(laps))


def backend_of(device: torch.device, ranks: int) -> str:
    """The backend that exchanges the device's tensors; `none` for a rank alone."""
    if ranks == 1:
        return "none"
    backends = dict(pair.split(":") for pair in distributed.get_backend_config().split(","))
    return backends.get(device.type, distributed.get_backend())


def transports() -> tuple[str, ...]:
    """The ways between ranks that NCCL named in its log; none without a log."""
    pattern = os.environ.get("NCCL_DEBUG_FILE", "")
    if not pattern:
        return ()
    path = Path(pattern.replace("%h", socket.gethostname()).replace("%p", str(os.getpid())))
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ()
    return tuple(sorted(set(VIA.findall(text))))[:10]


def nvlink(device: torch.device) -> bool | None:
    """Whether an NVIDIA GPU has an active NVLink; None where the driver does not say."""
    if device.type != "cuda" or torch.version.hip:
        return None
    with suppress(Exception):  # NVML raises errors of its own, and may be absent
        import pynvml  # noqa: PLC0415  only where there is a GPU

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
        return any(_is_active(pynvml, handle, number) for number in range(NVLINKS))
    return None


def _is_active(pynvml: object, handle: object, number: int) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetNvLinkState(handle, number))  # type: ignore[attr-defined]  # untyped package
    except Exception:  # noqa: BLE001  there is no link of that number
        return False
