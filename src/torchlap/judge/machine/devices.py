"""What the live probe of each device showed."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.machine import Facts

ALONE = Rule(
    "TL101",
    "note",
    "no accelerator",
    "A speed-up needs two devices; without an accelerator the figures are the CPU's alone.",
    "If this machine has a GPU, check its driver, and that the installed torch was built for it.",
    "torch.accelerator",
)
FAILS = Rule(
    "TL140",
    "error",
    "the device fails",
    "It is listed, but does not do what every training needs: allocate, multiply, train a small network, copy back.",
    "Restart the machine and try again; if it stays, check the device's driver, and torch's version for it.",
    "the live probe",
)
WRONG_NUMBERS = Rule(
    "TL141",
    "error",
    "the device computes wrong numbers",
    "A product of small whole numbers, or the losses of a small network, are not those of the CPU: no result of this "
    "device can be trusted.",
    "Upgrade torch and the driver; if it stays, the device may be broken.",
    "the live probe, against the CPU",
)
NOT_ON_DEVICE = Rule(
    "TL142",
    "warning",
    "operators are not on the device",
    "Torch runs them on the CPU instead, which is slow, or refuses them. These are operators of the six models that "
    "torchlap measures by default.",
    "Upgrade torch; figures of models that use them are a mix of both devices.",
    "the live probe; torch's own warnings",
)


def alone(facts: Facts) -> Iterable[Finding]:
    """The CPU is the only device."""
    if facts.devices and all(device.kind == "cpu" for device in facts.devices):
        yield found(ALONE, "", f"Only the CPU can be used. {facts.looked_for}".strip())


def fails(facts: Facts) -> Iterable[Finding]:
    """A device did not get through the live probe."""
    for trial in facts.trials:
        if trial.failed_at:
            full = trial.kind == "out_of_memory"
            remedy = "Its memory is full: see who holds it (for NVIDIA, nvidia-smi), and end it." if full else ""
            yield found(FAILS, trial.device, f"at {trial.failed_at}: {trial.reason}", remedy=remedy)


def wrong_numbers(facts: Facts) -> Iterable[Finding]:
    """A device got through the live probe with wrong numbers."""
    for trial in facts.trials:
        if trial.wrong:
            yield found(WRONG_NUMBERS, trial.device, trial.wrong)


def not_on_device(facts: Facts) -> Iterable[Finding]:
    """Operators fall back to the CPU, or are refused."""
    for trial in facts.trials:
        if trial.missing or trial.fallbacks:
            yield found(NOT_ON_DEVICE, trial.device, "; ".join([*trial.missing, *trial.fallbacks]))
