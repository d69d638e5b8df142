"""Devices, the CPU and whatever torch.accelerator names: which there are, how to wait for one, how it computes.

Waiting goes through the device's own module (torch.cuda, torch.mps, torch.xpu, or a third party's), which every backend
has; `torch.accelerator.synchronize` raises on some.
"""

import ctypes
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import torch
from torch.backends import cudnn

from torchlap.schema.machine import DeviceFacts, TorchFacts
from torchlap.schema.recipe import Precision

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""glibc's numbers for mallopt(3)."""

FALLBACK_WORDS = "fall back to run on the CPU"
"""What torch says of MPS where PYTORCH_ENABLE_MPS_FALLBACK lets it (aten/src/ATen/mps/MPSFallback.mm)."""

LONGEST_SAID = 2000
MOST_FALLBACKS = 20
WITHOUT_INDEX = ("cpu", "mps")
"""Kinds of which a machine has one."""


class RefusedError(Exception):
    """The device cannot do what the recipe asks; one sentence."""


def found() -> tuple[DeviceFacts, ...]:
    """The CPU, then every device of the machine's accelerator."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    cpu = DeviceFacts("cpu", "cpu")
    if accelerator is None:
        return (cpu,)
    kind = accelerator.type
    return (cpu, *(_facts(kind, index) for index in range(torch.accelerator.device_count())))


def _facts(kind: str, index: int) -> DeviceFacts:
    module = torch.get_device_module(kind)
    name = kind if kind in WITHOUT_INDEX else f"{kind}:{index}"
    model = str(module.get_device_name(index)) if hasattr(module, "get_device_name") else ""
    return DeviceFacts(name, kind, model, memory_bytes(torch.device(kind, index)), _capability(kind, index))


def memory_bytes(device: torch.device) -> int | None:
    """An accelerator's memory; None where it does not tell, and for the CPU."""
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    if hasattr(module, "get_device_properties"):
        told: int | None = getattr(module.get_device_properties(device.index or 0), "total_memory", None)
        return told
    if hasattr(module, "recommended_max_memory"):
        return int(module.recommended_max_memory())
    return None


def _capability(kind: str, index: int) -> str:
    """What the device's code must be built for: like 9.0 for NVIDIA, gfx90a for AMD; empty for others."""
    if kind != "cuda":
        return ""
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(index).gcnArchName).partition(":")[0]
    return ".".join(map(str, torch.cuda.get_device_capability(index)))


def torch_facts() -> TorchFacts:
    """What torch says of itself: what it was built for, what of that is available, how it multiplies by default."""
    with heard() as warned:
        return TorchFacts(
            cuda_available=torch.cuda.is_available(),
            architectures=tuple(torch.cuda.get_arch_list()),
            mps_built=torch.backends.mps.is_built(),
            mps_available=torch.backends.mps.is_available(),
            xpu_built=torch.xpu._is_compiled(),  # noqa: SLF001  there is no public name
            xpu_available=torch.xpu.is_available(),
            onednn=torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]  # torch's own
            float32_precision={
                "matmul": torch.backends.cuda.matmul.fp32_precision,
                "convolution": cudnn.conv.fp32_precision,  # type: ignore[attr-defined]  # torch's types lack it
            },
            warnings=" ".join(dict.fromkeys(str(each.message) for each in warned))[:LONGEST_SAID],
        )


def looked_for() -> str:
    """In words: which accelerators this torch was built for, and what it said of each."""
    cuda = torch.version.cuda or torch.version.hip
    lines = [
        f"CUDA (this torch is built for {cuda}: "
        + ("available)" if torch.cuda.is_available() else "no GPU or driver found)")
        if cuda
        else "CUDA (not in this torch)",
        "MPS (" + _built(torch.backends.mps.is_built(), torch.backends.mps.is_available()),
        "XPU (" + _built(torch.xpu._is_compiled(), torch.xpu.is_available()),  # noqa: SLF001  there is no public name
    ]
    return f"Looked for {', '.join(lines)}."


def _built(built: bool, available: bool) -> str:  # noqa: FBT001  two plain answers
    return "available)" if available else "in this torch, but not available)" if built else "not in this torch)"


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits until everything enqueued on the device is done."""
    if device.type == "cpu":
        return lambda: None
    module = torch.get_device_module(device)
    if device.type in WITHOUT_INDEX:
        return cast("Callable[[], None]", module.synchronize)
    index = device.index or 0
    return lambda: module.synchronize(index)


def heard() -> AbstractContextManager[list[warnings.WarningMessage]]:
    """Collect warnings instead of printing them, each kind as often as it comes."""
    return warnings.catch_warnings(record=True, action="always")


def fallbacks(warned: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """Which operators the device left to the CPU, by the warnings that torch gave; the others are printed again."""
    said = dict.fromkeys(str(each.message) for each in warned)
    for text in said:
        if FALLBACK_WORDS not in text:
            print(text, file=sys.stderr)  # noqa: T201  the worker's log
    return tuple(text.splitlines()[0][:300] for text in said if FALLBACK_WORDS in text)[:MOST_FALLBACKS]


def select(name: str) -> torch.device:
    """Make the named device the current one.

    Raises:
        RefusedError: when torch does not have it (any more).
    """
    device = torch.device(name)
    if device.type != "cpu" and device.index is not None:
        try:
            torch.accelerator.set_device_index(device.index)
        except RuntimeError as error:
            raise RefusedError(f"{name} cannot be used ({error}).") from None
    return device


def set_precision(precision: Precision, device: torch.device) -> str:
    """Set how float32 is multiplied, and say what was set.

    Raises:
        RefusedError: for TF32 on a device that has no such mode.
    """
    if device.type != "cuda":
        if precision == "tf32":
            raise RefusedError(f"TF32 is a mode of NVIDIA GPUs; {device.type} has none. Leave tf32 out for it.")
        return "float32 is multiplied as float32" if precision == "fp32" else f"{precision} autocast"
    mode = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = mode
    for operators in ("conv", "rnn"):
        getattr(cudnn, operators).fp32_precision = mode  # torch's types do not know them
    autocast = f"{precision} autocast, " * (precision in ("bf16", "fp16"))
    return f"{autocast}TF32 {'on' if mode == 'tf32' else 'off'}"


def keep_freed_memory() -> str:
    """Let glibc keep freed memory for the next step instead of handing it back; say what was set.

    By default every large tensor is mapped anew, and the kernel clears it page by page: with large batches that can
    take longer than the arithmetic. Other systems' allocators keep memory by themselves (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or platform.libc_ver()[0] != "glibc":
        return "the system's memory allocator"
    if any(name.startswith("MALLOC_") for name in os.environ):
        return "the memory allocator as the environment's MALLOC_ variables set it"
    done = mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1)
    return "freed memory kept for the next step (mallopt)" if done else "the system's memory allocator"


def hand_back_memory(device: torch.device) -> None:
    """Let the device's allocator forget what it keeps, so that what comes next finds it as it was."""
    if device.type != "cpu":
        module = torch.get_device_module(device)
        if hasattr(module, "empty_cache"):
            module.empty_cache()


def watch_memory(device: torch.device) -> Callable[[], int | None]:
    """From now on note the most memory in use; a function that tells it: a device's allocator, or this process.

    None where it is not told. Linux alone can forget a process's earlier peak (proc_pid_clear_refs(5)).
    """
    if device.type == "cpu":
        return _watch_process()
    module = torch.get_device_module(device)
    if not (hasattr(module, "reset_peak_memory_stats") and hasattr(module, "max_memory_allocated")):
        return lambda: None
    module.reset_peak_memory_stats()
    return lambda: int(module.max_memory_allocated())


def _watch_process() -> Callable[[], int | None]:
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return lambda: None

    def peak() -> int | None:
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) * 1024 if lines else None

    return peak


def set_threads(threads: int, reason: str) -> str:
    """Set the CPU's threads and flush its denormals, which slow training down gradually; say what was set."""
    torch.set_num_threads(threads)
    flushed = torch.set_flush_denormal(True)
    return f"{threads} threads ({reason}), denormals {'flushed' if flushed else 'kept: this CPU cannot flush them'}"
