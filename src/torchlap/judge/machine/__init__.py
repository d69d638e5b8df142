"""Does the accelerator work, and does anything make it slow or wrong? Facts in, findings out: pure functions.

Each rule stands directly above the function that yields it. The rules of a chain are possible causes of the same
failure: only the first that applies is reported, because the others are its effects.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from torchlap.errors import EXIT_FINE, EXIT_UNUSABLE, EXIT_WARNINGS
from torchlap.judge import broken
from torchlap.judge.findings import SEVERITIES, Finding, catalogue
from torchlap.judge.machine import amd_intel, apple, cpu, devices, environment, install, nvidia
from torchlap.schema.machine import Facts

Check = Callable[[Facts], Iterable[Finding]]

CATALOGUE = catalogue(broken, amd_intel, apple, cpu, devices, environment, install, nvidia)

CHAINS: tuple[tuple[Check, ...], ...] = (
    (
        install.broken_by_variable,
        install.hidden_module,
        install.broken_files,
        install.missing,
        install.mismatch,
        install.numpy_abi,
        install.numpy_fails,
        install.suspicious_files_break,
        install.import_fails,
        install.too_old,
        install.no_devices,
    ),
    (install.suspicious_files_work,),
    (apple.rosetta, apple.without_mps, apple.macos_too_old, apple.unavailable),
    (nvidia.no_driver, nvidia.driver_fails, nvidia.cpu_wheel, nvidia.hidden, nvidia.driver_too_old, nvidia.unavailable),
    (amd_intel.amd_hidden, amd_intel.amd_wheel, amd_intel.amd_unavailable),
    (amd_intel.intel_hidden, amd_intel.intel_unavailable, amd_intel.intel_wheel),
    (nvidia.no_kernels, apple.cannot_allocate, devices.fails),
    (devices.wrong_results,),
    (apple.watermarks,),
    (devices.not_implemented,),
    (devices.without_effect,),
    (apple.lost_updates,),
    (apple.known_wrong,),
    (apple.settings_ignored,),
    (environment.numerics,),
    (environment.speed,),
    (cpu.few_threads,),
    (cpu.quota,),
    (cpu.memory_limit,),
    (cpu.affinity,),
    (cpu.no_onednn,),
    (nvidia.in_use,),
    (nvidia.throttled,),
    (cpu.hot,),
    (cpu.saving_power,),
    (cpu.busy,),
    (cpu.little_memory,),
    (devices.no_accelerator,),
)
"""Causes before their effects."""


class CheckUp(Struct, frozen=True):
    """The result of `torchlap doctor`: the findings worst first, causes before effects; `torchlap` is the version."""

    torchlap: str
    facts: Facts
    findings: tuple[Finding, ...]


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """What makes the accelerator unusable, slow or wrong: worst first, causes before their effects."""
    findings = [finding for chain in CHAINS for finding in _first(chain, facts)]
    if any(finding.severity == "error" for finding in findings):
        findings = [finding for finding in findings if finding.code != devices.NO_ACCELERATOR.code]
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def _first(chain: Iterable[Check], facts: Facts) -> tuple[Finding, ...]:
    """The findings of the first rule that has any."""
    return next((findings for check in chain if (findings := tuple(check(facts)))), ())


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if all is well, 1 if something affects results, 2 if the accelerator or torch cannot be used."""
    severities = {finding.severity for finding in findings}
    return EXIT_UNUSABLE if "error" in severities else EXIT_WARNINGS if "warning" in severities else EXIT_FINE
