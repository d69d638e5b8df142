"""Environment variables that change what torch computes, or how fast."""

from collections.abc import Iterable

from torchlap.findings import Finding, Rule, found
from torchlap.records import Facts

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
    "NVIDIA_TF32_OVERRIDE": "TF32 is forced on or off, whatever a program sets",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "float32 is multiplied in TF32",
    "PYTORCH_MPS_FAST_MATH": "MPS computes with fast, inexact arithmetic",
    "DNNL_DEFAULT_FPMATH_MODE": "oneDNN may compute float32 in a lower precision",
    "ONEDNN_DEFAULT_FPMATH_MODE": "oneDNN may compute float32 in a lower precision",
    "HSA_OVERRIDE_GFX_VERSION": "ROCm runs code for another GPU than this",
}
OF_SPEED = {
    "CUDA_LAUNCH_BLOCKING": "the host waits for every kernel",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "every allocation goes to the driver",
    "TORCHDYNAMO_DISABLE": "torch.compile does nothing",
    "TORCH_COMPILE_DISABLE": "torch.compile does nothing",
    "ATEN_CPU_CAPABILITY": "the CPU's vector instructions are limited",
    "MKL_CBWR": "oneMKL computes reproducibly, and slower",
}
STRICT = ("strict", "any_strict")
ALWAYS = ("NVIDIA_TF32_OVERRIDE",)
"""Here 0 forces, too."""


def _set(facts: Facts, meanings: dict[str, str]) -> Iterable[str]:
    for name, meaning in meanings.items():
        value = facts.environment.get(name, "")
        if value and (name in ALWAYS or value.lower() not in (*OFF, *STRICT)):
            yield f"{name}={value}: {meaning}"


def numbers(facts: Facts) -> Iterable[Finding]:
    """Variables that change what is computed."""
    for evidence in _set(facts, OF_NUMBERS):
        yield found(NUMBERS, "", evidence, command=f"unset {evidence.partition('=')[0]}")


def speed(facts: Facts) -> Iterable[Finding]:
    """Variables that slow torch down."""
    for evidence in _set(facts, OF_SPEED):
        yield found(SPEED, "", evidence, command=f"unset {evidence.partition('=')[0]}")
