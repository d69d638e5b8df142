"""Devices: the CPU and every device of the accelerator that torch finds; how to synchronize and set up each of them.

Synchronization goes through the device's own module (torch.cuda, torch.mps, torch.xpu, or a third party's), because
`torch.accelerator.synchronize` raises on some backends.
"""

import ctypes
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import cast

import torch
from torch.backends import cudnn

from torchlap.schema.machine import DeviceFacts, TorchFacts
from torchlap.schema.recipe import Precision
from torchlap.worker.errors import RefusedError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""glibc's numbers for mallopt(3)."""

FALLBACK_WORDS = "fall back to run on the CPU"
"""From torch's warning when PYTORCH_ENABLE_MPS_FALLBACK moves an operator (aten/src/ATen/mps/MPSFallback.mm)."""

LONGEST_WARNINGS, LONGEST_WARNING = 2000, 300
MOST_FALLBACKS = 20
WITHOUT_INDEX = ("cpu", "mps")
"""Kinds of which a machine has only one device."""


def list_devices() -> tuple[DeviceFacts, ...]:
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


def model_of(device: torch.device) -> str:
    """What the device's maker calls it; empty for the CPU."""
    return "" if device.type == "cpu" else _facts(device.type, device.index or 0).model


def memory_bytes(device: torch.device) -> int | None:
    """An accelerator's memory; None where it is not reported, and for the CPU."""
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    if hasattr(module, "get_device_properties"):
        total: int | None = getattr(module.get_device_properties(device.index or 0), "total_memory", None)
        return total
    if hasattr(module, "recommended_max_memory"):
        return int(module.recommended_max_memory())
    return None


def _capability(kind: str, index: int) -> str:
    """The architecture that code must be built for: like 9.0 for NVIDIA, gfx90a for AMD, empty for others."""
    if kind != "cuda":
        return ""
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(index).gcnArchName).partition(":")[0]
    return ".".join(map(str, torch.cuda.get_device_capability(index)))


def torch_facts() -> TorchFacts:
    """What torch was built for, which of that is available, and how it multiplies float32 by default."""
    with recorded_warnings() as recorded:
        return TorchFacts(
            cuda_available=torch.cuda.is_available(),
            architectures=tuple(torch.cuda.get_arch_list()),
            mps_built=torch.backends.mps.is_built(),
            mps_available=torch.backends.mps.is_available(),
            xpu_built=torch.version.xpu is not None,
            xpu_available=torch.xpu.is_available(),
            onednn=torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]  # torch's own
            float32_precision={
                "matmul": torch.backends.cuda.matmul.fp32_precision,
                "convolution": cudnn.conv.fp32_precision,  # type: ignore[attr-defined]  # torch's types lack it
            },
            warnings=" ".join(_distinct(recorded))[:LONGEST_WARNINGS],
        )


def accelerator_support() -> str:
    """One sentence: which accelerators this torch was built for, and which of them are available."""
    mps, xpu = torch.backends.mps, torch.xpu
    descriptions = (
        _cuda_support(),
        f"MPS ({_support(built=mps.is_built(), available=mps.is_available())})",
        f"XPU ({_support(built=torch.version.xpu is not None, available=xpu.is_available())})",
    )
    return f"Accelerators: {', '.join(descriptions)}."


def _cuda_support() -> str:
    name = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda or ''}".strip()
    if torch.version.hip is None and torch.version.cuda is None:
        return f"{name} (not in this torch build)"
    return f"{name} ({'available' if torch.cuda.is_available() else 'no GPU or driver found'})"


def _support(*, built: bool, available: bool) -> str:
    if available:
        return "available"
    return "in this torch build, but not available" if built else "not in this torch build"


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that waits until all work enqueued on the device is done."""
    if device.type == "cpu":
        return lambda: None
    module = torch.get_device_module(device)
    if device.type in WITHOUT_INDEX:
        return cast("Callable[[], None]", module.synchronize)
    index = device.index or 0
    return lambda: module.synchronize(index)


def recorded_warnings() -> AbstractContextManager[list[warnings.WarningMessage]]:
    """Record every warning instead of printing it."""
    return warnings.catch_warnings(record=True, action="always")


def _distinct(recorded: Sequence[warnings.WarningMessage]) -> list[str]:
    return list(dict.fromkeys(str(warning.message) for warning in recorded))


def fallbacks(recorded: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """The warnings about operators that run on the CPU instead of the device; all others go to the worker's log."""
    texts = _distinct(recorded)
    for text in texts:
        if FALLBACK_WORDS not in text:
            sys.stderr.write(f"{text}\n")
    return tuple(text.splitlines()[0][:LONGEST_WARNING] for text in texts if FALLBACK_WORDS in text)[:MOST_FALLBACKS]


def select(name: str) -> torch.device:
    """Make the named device the current one.

    Raises:
        RefusedError: when torch does not have it, or no longer.
    """
    device = torch.device(name)
    if device.type != "cpu" and device.index is not None:
        try:
            torch.accelerator.set_device_index(device.index)
        except RuntimeError as error:
            raise RefusedError(
                f"Device {name} is not available ({error}): choose another one, or check it with torchlap doctor."
            ) from None
    return device


def initialization(device: torch.device) -> AbstractContextManager[object]:
    """Where a torchvision model's random weights are made: on the device itself, which is faster than on the CPU.

    Only devices whose random generators torch itself provides; elsewhere on the CPU.
    """
    return torch.device(device) if device.type in ("cuda", "xpu") else nullcontext()


def set_precision(precision: Precision, device: torch.device) -> str:
    """Set how float32 is multiplied.

    Returns:
        The setting, in words.

    Raises:
        RefusedError: for TF32 on a device that does not have it.
    """
    autocast = f"{precision} autocast" if precision in ("bf16", "fp16") else ""
    if device.type != "cuda":
        if precision == "tf32":
            raise RefusedError(f"TF32 exists only on NVIDIA GPUs, not on {device.type}: use fp32 there.")
        return f"Precision: {autocast or 'float32'}"
    mode = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = mode
    for operators in ("conv", "rnn"):
        getattr(cudnn, operators).fp32_precision = mode  # torch's types do not know them
    return f"Precision: {autocast or 'float32'}, TF32 {'enabled' if mode == 'tf32' else 'disabled'}"


def keep_freed_memory() -> str:
    """Let glibc keep freed memory for the next step instead of returning it to the system.

    By default every large tensor is mapped anew, and the kernel clears it page by page: with large batches that can
    take longer than the arithmetic. Other systems' allocators keep memory by themselves (mallopt(3)).

    Returns:
        The setting, in words.
    """
    default = "Memory allocator: the system's default"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or platform.libc_ver()[0] != "glibc":
        return default
    if any(name.startswith("MALLOC_") for name in os.environ):
        return "Memory allocator: set by MALLOC_ environment variables"
    done = mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1)
    return "Memory allocator: keeps freed memory for the next step (mallopt)" if done else default


def release_cached_memory(device: torch.device) -> None:
    """Empty the cache of the device's allocator, so that the next measurement starts as the first one did."""
    if device.type == "cpu":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        return
    module = torch.get_device_module(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()


def track_peak_memory(device: torch.device) -> Callable[[], int | None]:
    """Start tracking the peak memory in use: of a device's allocator; on the CPU, of this process.

    Returns:
        A function that returns the peak in bytes, or None where it is not available. Only Linux can reset a process's
        earlier peak (proc_pid_clear_refs(5)).
    """
    if device.type == "cpu":
        return _track_process_memory()
    module = torch.get_device_module(device)
    if not (hasattr(module, "reset_peak_memory_stats") and hasattr(module, "max_memory_allocated")):
        return lambda: None
    module.reset_peak_memory_stats()
    return lambda: int(module.max_memory_allocated()) + _kept_by_graphs(module)


def _kept_by_graphs(module: ModuleType) -> int:
    """Bytes that captured graphs keep for their intermediate results, which do not count as allocated."""
    segments = module.memory_snapshot() if hasattr(module, "memory_snapshot") else []
    private = [segment for segment in segments if any(segment.get("segment_pool_id", ()))]
    return sum(segment["total_size"] - segment["allocated_size"] for segment in private)


def _track_process_memory() -> Callable[[], int | None]:
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
    """Set the number of CPU threads, and flush denormals, which slow training down gradually.

    Returns:
        The settings, in words.
    """
    torch.set_num_threads(threads)
    flushed = torch.set_flush_denormal(True)
    denormals = "denormals flushed to zero" if flushed else "denormals kept, because this CPU cannot flush them"
    return f"Threads: {threads} ({reason}); {denormals}"
