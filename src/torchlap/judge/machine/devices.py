"""Which devices there are, and the results of their live probes."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.machine import Facts

NO_ACCELERATOR = Rule(
    "TL101",
    "note",
    "no accelerator",
    "A speed-up needs two devices; without an accelerator, only the CPU can be measured.",
    "If this machine has a GPU, check its driver, and that the installed torch is built for it.",
    "torch.accelerator",
)


def no_accelerator(facts: Facts) -> Iterable[Finding]:
    """The CPU is the only device."""
    if facts.devices and all(device.kind == "cpu" for device in facts.devices):
        yield NO_ACCELERATOR.finding("", f"The CPU is the only device. {facts.looked_for}".strip())


FAILS = Rule(
    "TL140",
    "error",
    "device does not work",
    "Torch lists the device, but the device fails at something that all training needs: allocating memory, "
    "multiplying, training a small network, or copying back.",
    "Restart the machine and try again; if the failure persists, check the device's driver, and whether this version "
    "of torch supports the device.",
    "the live probe",
)


def fails(facts: Facts) -> Iterable[Finding]:
    """A device did not pass the live probe."""
    for trial in facts.trials:
        if trial.failed_at:
            full = trial.kind == "out_of_memory"
            remedy = "Its memory is full: find the process that holds it (on NVIDIA, with nvidia-smi) and end it."
            evidence = f"while {trial.failed_at}: {trial.reason}"
            yield FAILS.finding(trial.device, evidence, remedy=remedy if full else "")


WRONG_RESULTS = Rule(
    "TL141",
    "error",
    "device computes wrong results",
    "A product of small whole numbers, or the losses of a small network, differ from the CPU's: no result from this "
    "device can be trusted.",
    "Upgrade torch and the driver; if the results stay wrong, the device may be defective.",
    "the live probe, compared with the CPU",
)


def wrong_results(facts: Facts) -> Iterable[Finding]:
    """A device completed the live probe with wrong results."""
    for trial in facts.trials:
        if trial.wrong:
            yield WRONG_RESULTS.finding(trial.device, trial.wrong)


NOT_IMPLEMENTED = Rule(
    "TL142",
    "warning",
    "operators not implemented on the device",
    "Torch runs them on the CPU instead, which is slow, or raises an error. The six models that torchlap measures by "
    "default use these operators.",
    "Upgrade torch. Until then, results of models that use these operators are a mix of both devices.",
    "the live probe; torch's own warnings",
)


def not_implemented(facts: Facts) -> Iterable[Finding]:
    """Operators fall back to the CPU, or are missing."""
    for trial in facts.trials:
        if trial.missing or trial.fallbacks:
            yield NOT_IMPLEMENTED.finding(trial.device, "; ".join([*trial.missing, *trial.fallbacks]))


WITHOUT_EFFECT = Rule(
    "TL143",
    "note",
    "mixed precision has no effect on the device",
    "Torch accepts the request and computes as if it had not been made, with a warning at most. A script that asks for "
    "it is no faster, and its results are those of float32.",
    "Do not use these calls on this device, and do not expect a speed-up from them; a newer torch or system may "
    "implement them.",
    "the live probe",
)


def without_effect(facts: Facts) -> Iterable[Finding]:
    """Calls of torch.amp that do nothing on a device."""
    for trial in facts.trials:
        if trial.without_effect:
            yield WITHOUT_EFFECT.finding(trial.device, "; ".join(trial.without_effect))
