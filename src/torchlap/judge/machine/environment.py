"""Environment variables that change what torch computes, or how fast."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.machine import Facts

OFF = ("", "0", "false", "no", "off")
STRICT = ("strict", "any_strict")
ALWAYS = ("NVIDIA_TF32_OVERRIDE", "PYTORCH_NO_CUDA_MEMORY_CACHING")
"""These take effect even at 0."""

NUMERICS = Rule(
    "TL150",
    "warning",
    "environment variable changes results",
    "It overrides what a program requests, so the precision is not what it seems to be.",
    "Unset the variable, or state it with every result.",
    "the documentation of torch, cuBLAS and oneDNN",
)

NUMERICS_VARIABLES = {
    "NVIDIA_TF32_OVERRIDE": ("cuda", "TF32 is forced on or off, whatever the program sets"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("cuda", "float32 matrix products use TF32"),
    "PYTORCH_MPS_FAST_MATH": ("mps", "MPS uses fast, inexact arithmetic"),
    "DNNL_DEFAULT_FPMATH_MODE": ("cpu", "oneDNN may compute float32 in a lower precision"),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("cpu", "oneDNN may compute float32 in a lower precision"),
}
"""By name: the kind of device that it affects (every machine has a CPU), and its effect."""


def numerics(facts: Facts) -> Iterable[Finding]:
    """Variables that change results."""
    for name, evidence in _active(facts, NUMERICS_VARIABLES):
        yield NUMERICS.finding("", evidence, command=f"unset {name}")


def _active(facts: Facts, variables: dict[str, tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The variables that take effect on this machine: the name, then the value with its effect."""
    kinds = {device.kind for device in facts.devices}
    for name, (kind, effect) in variables.items():
        value = facts.environment.get(name, "")
        if value and kind in kinds and (name in ALWAYS or value.lower() not in (*OFF, *STRICT)):
            yield name, f"{name}={value}: {effect}"


SPEED = Rule(
    "TL151",
    "warning",
    "environment variable slows torch down",
    "It is meant for debugging, or for another machine.",
    "Unset the variable before measuring.",
    "the documentation of torch and oneMKL",
)

SPEED_VARIABLES = {
    "CUDA_LAUNCH_BLOCKING": ("cuda", "the host waits for every kernel"),
    "PYTORCH_NO_CUDA_MEMORY_CACHING": ("cuda", "every allocation goes to the driver"),
    "TORCHDYNAMO_DISABLE": ("cpu", "torch.compile has no effect"),
    "TORCH_COMPILE_DISABLE": ("cpu", "torch.compile has no effect"),
    "ATEN_CPU_CAPABILITY": ("cpu", "the CPU's vector instructions are limited"),
    "MKL_CBWR": ("cpu", "oneMKL computes reproducibly, but more slowly"),
}


def speed(facts: Facts) -> Iterable[Finding]:
    """Variables that slow torch down."""
    for name, evidence in _active(facts, SPEED_VARIABLES):
        yield SPEED.finding("", evidence, command=f"unset {name}")
