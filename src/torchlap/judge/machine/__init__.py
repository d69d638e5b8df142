"""Does the accelerator work, and what would make it slow or wrong? Facts in, findings out: pure functions.

A rule stands beside its text. Of the rules in a chain, each a possible cause of the same failure, only the first that
applies is told: the others are its effects.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from torchlap.errors import EXIT_FINE, EXIT_UNUSABLE, EXIT_WARNINGS
from torchlap.judge.findings import SEVERITIES, Finding, Rule
from torchlap.judge.machine import amd_intel, apple, cpu, devices, environment, install, nvidia
from torchlap.schema.machine import Facts

Check = Callable[[Facts], Iterable[Finding]]

CHAINS: tuple[tuple[Check, ...], ...] = (
    (install.missing, install.mismatch, install.import_fails, install.too_old, install.no_answer),
    (apple.rosetta, apple.without_mps, apple.macos_too_old, apple.unavailable),
    (nvidia.no_driver, nvidia.driver_fails, nvidia.cpu_wheel, nvidia.hidden, nvidia.driver_too_old, nvidia.unavailable),
    (amd_intel.amd_hidden, amd_intel.amd_wheel, amd_intel.amd_unavailable),
    (amd_intel.intel_hidden, amd_intel.intel_unavailable, amd_intel.intel_wheel),
    (nvidia.no_kernels, devices.fails),
    (devices.wrong_numbers,),
    (apple.watermarks,),
    (devices.not_on_device,),
    (apple.lost_updates,),
    (apple.known_wrong,),
    (apple.settings_ignored,),
    (environment.numbers,),
    (environment.speed,),
    (cpu.few_threads,),
    (cpu.quota,),
    (cpu.affinity,),
    (cpu.no_onednn,),
    (nvidia.busy,),
    (nvidia.throttled,),
    (cpu.hot,),
    (cpu.saving_power,),
    (cpu.load,),
    (cpu.little_memory,),
    (devices.alone,),
)
"""Causes before their effects."""

CATALOGUE: tuple[Rule, ...] = tuple(
    sorted(
        {
            value
            for module in (amd_intel, apple, cpu, devices, environment, install, nvidia)
            for value in vars(module).values()
            if isinstance(value, Rule)
        },
        key=lambda rule: rule.code,
    )
)


class CheckUp(Struct, frozen=True):
    """What the doctor saw and says: worst first, causes before their effects. `torchlap` is the version."""

    torchlap: str
    facts: Facts
    findings: tuple[Finding, ...]


def diagnose(facts: Facts) -> tuple[Finding, ...]:
    """What stands in the accelerator's way, or makes it slow or wrong: worst first, causes before their effects."""
    told = [finding for chain in CHAINS for finding in _first(chain, facts)]
    if any(finding.severity == "error" for finding in told):
        told = [finding for finding in told if finding.code != devices.ALONE.code]
    return tuple(sorted(told, key=lambda finding: SEVERITIES.index(finding.severity)))


def _first(chain: Iterable[Check], facts: Facts) -> tuple[Finding, ...]:
    """The findings of the first rule that has any."""
    return next((found for check in chain if (found := tuple(check(facts)))), ())


def exit_code(findings: Iterable[Finding]) -> int:
    """0 where all is well, 1 where something changes results, 2 where the accelerator cannot be used."""
    severities = {finding.severity for finding in findings}
    return EXIT_UNUSABLE if "error" in severities else EXIT_WARNINGS if "warning" in severities else EXIT_FINE
