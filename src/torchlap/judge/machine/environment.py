"""Environment variables that change what torch computes, or how fast."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.machine import Facts

OFF = ("", "0", "false", "no", "off")

NUMBERS = Rule(
    "TL150",
    "warning",
    "an environment variable changes the numbers",
    "What a program asks for is overridden, so its precision is not what it seems.",
    "Unset it, or say so beside every result.",
    "the documentation of torch, cuBLAS and oneDNN",
)
SPEED = Rule(
    "TL151",
    "warning",
    "an environment variable changes the speed",
    "It is meant for debugging, or for another machine, and slows torch down.",
    "Unset it before measuring.",
    "the documentation of torch and oneMKL",
)
OF_NUMBERS = {
    "NVIDIA_TF32_OVERRIDE": ("cuda", "TF32 is forced on or off, whatever a program sets"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("cuda", "float32 is multiplied in TF32"),
    "PYTORCH_MPS_FAST_MATH": ("mps", "MPS computes with fast, inexact arithmetic"),
    "DNNL_DEFAULT_FPMATH_MODE": ("cpu", "oneDNN may compute float32 in a lower precision"),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("cpu", "oneDNN may compute float32 in a lower precision"),
}
OF_SPEED = {
    "CUDA_LAUNCH_BLOCKING": ("cuda", "the host waits for every kernel"),
    "PYTORCH_NO_CUDA_MEMORY_CACHING": ("cuda", "every allocation goes to the driver"),
    "TORCHDYNAMO_DISABLE": ("cpu", "torch.compile does nothing"),
    "TORCH_COMPILE_DISABLE": ("cpu", "torch.compile does nothing"),
    "ATEN_CPU_CAPABILITY": ("cpu", "the CPU's vector instructions are limited"),
    "MKL_CBWR": ("cpu", "oneMKL computes reproducibly, and slower"),
}
"""By name: the kind of device that it is for (every machine has a CPU), and what it does."""

STRICT = ("strict", "any_strict")
ALWAYS = ("NVIDIA_TF32_OVERRIDE", "PYTORCH_NO_CUDA_MEMORY_CACHING")
"""Here 0 counts, too."""


def _set(facts: Facts, meanings: dict[str, tuple[str, str]]) -> Iterable[str]:
    kinds = {device.kind for device in facts.devices}
    for name, (kind, meaning) in meanings.items():
        value = facts.environment.get(name, "")
        if value and kind in kinds and (name in ALWAYS or value.lower() not in (*OFF, *STRICT)):
            yield f"{name}={value}: {meaning}"


def numbers(facts: Facts) -> Iterable[Finding]:
    """Variables that change what is computed."""
    for evidence in _set(facts, OF_NUMBERS):
        yield found(NUMBERS, "", evidence, command=f"unset {evidence.partition('=')[0]}")


def speed(facts: Facts) -> Iterable[Finding]:
    """Variables that slow torch down."""
    for evidence in _set(facts, OF_SPEED):
        yield found(SPEED, "", evidence, command=f"unset {evidence.partition('=')[0]}")
