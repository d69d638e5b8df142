"""A finding is a coded remark: what was seen, and what to do.

Here is the catalogue of those about a measurement, whose rules are in `trust`; `doctor` has those about a machine.
"""

from typing import Literal

from msgspec import Struct

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


class Rule(Struct, frozen=True):
    """A finding's entry in the catalogue: why it matters and what to do, whatever was seen; `source` is who says so."""

    code: str
    severity: Severity
    title: str
    why: str
    remedy: str
    source: str = ""


class Finding(Struct, frozen=True):
    """A rule that applies: `where` names the cell or device, or is empty for the whole run or machine.

    `command` is the remedy to paste into a shell, where there is one.
    """

    code: str
    severity: Severity
    where: str
    evidence: str
    remedy: str
    title: str = ""
    why: str = ""
    command: str = ""
    source: str = ""


FEW_ROUNDS = Rule(
    "TL201",
    "note",
    "few rounds",
    "An interval from two or three laps is honest but wide.",
    "Give it more time with --budget.",
)
WIDE = Rule(
    "TL202",
    "note",
    "interval wider than the target",
    "The figure is less certain than was asked for: differences within the interval mean nothing.",
    "Close other programs, give it more time with --budget, or accept less with --precision-target.",
)
COLD = Rule(
    "TL203",
    "note",
    "warm-up cut short",
    "The first laps may hold what only happens once, so the figure may be too low.",
    "Give it more time with --budget.",
)
DRIFT = Rule(
    "TL204",
    "warning",
    "speed drifts",
    "The device got faster or slower while it was measured: heat, a throttled clock, or a load that comes and goes. "
    "The figure is an average over that, and will be another next time. A speed-up is hit less, for both sides "
    "drifted.",
    "Let the machine rest, close other programs, and measure again; on a laptop, on mains power.",
)
TWO_SPEEDS = Rule(
    "TL205",
    "warning",
    "two speeds",
    "The laps fall into two groups with nothing between: a clock that switches, cores of two kinds, or something that "
    "runs every other time. The figure lies between two speeds, of which the machine has neither.",
    "Close other programs; on a laptop, use mains power; measure again with more laps: a larger --budget.",
)
DEPENDENT = Rule(
    "TL206",
    "note",
    "laps resemble their neighbours",
    "What disturbs the machine lasts longer than a lap, so the laps tell less than their number says. The intervals "
    "are widened for it, but a measurement so short cannot tell how much is needed.",
    "Give it more time with --budget, and a smaller --precision-target.",
)
RATIO_DRIFT = Rule(
    "TL207",
    "warning",
    "speed-up drifts",
    "One side got faster or slower and the other did not, so the speed-up is not one number: it depends on how long "
    "one measures. A throttled device, or a model that slows down as it trains, does this.",
    "Let the machine rest and measure again; if it stays, look at the laps of either side in the run file.",
)
OTHERS_ON_CPU = Rule(
    "TL208",
    "warning",
    "other processes used the CPU",
    "They took cores and memory bandwidth from what was measured, most of all from the CPU's own figures.",
    "Close them and measure again; on a shared machine, measure when it is quiet.",
)
OTHERS_ON_GPU = Rule(
    "TL209",
    "warning",
    "another process on the GPU",
    "A process of somebody else's held the GPU before ours came: it may have computed meanwhile, and shared the "
    "memory.",
    "See who it is with nvidia-smi, end it or wait for it, and measure again.",
)
THROTTLED = Rule(
    "TL210",
    "warning",
    "device throttled",
    "The driver said that it held the clock down while laps were measured: the figure is that of a throttled device.",
    "Cool it, raise its power limit if it is yours, or take the figure as what this machine can sustain.",
)
ON_BATTERY = Rule(
    "TL211",
    "warning",
    "saving power",
    "On battery or in a low-power mode, clocks are held down, and not alike for the CPU and the GPU.",
    "Plug it in, switch the low-power mode off, and measure again.",
)
SWAPPED = Rule(
    "TL212",
    "warning",
    "memory was swapped out",
    "The machine had too little memory and moved some to the disk; a step that waits for the disk is not the model's.",
    "Close other programs or take a smaller --batch.",
)
FEWER_CORES = Rule(
    "TL213",
    "warning",
    "the CPU is held back",
    "It had fewer threads than the machine has cores, so every speed-up over it is too large for this machine.",
    "Unset OMP_NUM_THREADS and MKL_NUM_THREADS, or lift the container's quota, unless that is what you want to "
    "measure.",
)
FELL_BACK = Rule(
    "TL214",
    "warning",
    "operators fell back to the CPU",
    "The device has not got them: each time, the data travels to the CPU and back, and the figure is a mix of both.",
    "Upgrade torch, or replace the operators that are named.",
)
NOT_FINITE = Rule(
    "TL215",
    "error",
    "loss is not finite",
    "The model computes no numbers any more, and arithmetic on NaN may take another time than on numbers.",
    "Find where the first NaN comes from: a smaller learning rate, another precision, or "
    "torch.autograd.detect_anomaly.",
)
DOES_NOT_LEARN = Rule(
    "TL216",
    "warning",
    "the loss does not fall",
    "A model that trains learns a fixed batch by heart, and digits within some hundred steps. Where the loss stays, "
    "the loss may be wrong (its shapes, its targets), the optimizer may not hold the parameters, or a device's "
    "gradients may be wrong; the time may then not be that of real training.",
    "Look at the shapes that the loss is given, and whether each parameter has a gradient.",
)
STARVED = Rule(
    "TL217",
    "warning",
    "waits for its input",
    "The step waits for the next batch, so the figure is the loader's more than the model's, and a faster device "
    "would not change it.",
    "More workers (--workers, or num_workers of your own DataLoader), lighter transforms, or data resident on the "
    "device: leave out --data-through loader.",
)
LAUNCH_BOUND = Rule(
    "TL218",
    "note",
    "launch-bound",
    "The host takes as long to enqueue a step as the device to run it: the device waits for the host, and a faster "
    "device would not change the figure.",
    "A larger --batch, or --recipe compile.",
)
SMALL_BATCH = Rule(
    "TL219",
    "note",
    "batch too small to fill the device",
    "The same device does far more images a second at a larger batch: at this one, much of it is idle.",
    "Take the larger batch for a comparison of devices; this one tells of overheads.",
)
BUSY_BEFORE = Rule(
    "TL220",
    "warning",
    "device was not idle",
    "The GPU computed for somebody else just before we began, and may have gone on.",
    "See who it is with nvidia-smi, wait until it is idle, and measure again.",
)
CATALOGUE = (
    FEW_ROUNDS,
    WIDE,
    COLD,
    DRIFT,
    TWO_SPEEDS,
    DEPENDENT,
    RATIO_DRIFT,
    OTHERS_ON_CPU,
    OTHERS_ON_GPU,
    THROTTLED,
    ON_BATTERY,
    SWAPPED,
    FEWER_CORES,
    FELL_BACK,
    NOT_FINITE,
    DOES_NOT_LEARN,
    STARVED,
    LAUNCH_BOUND,
    SMALL_BATCH,
    BUSY_BEFORE,
)


def found(rule: Rule, where: str, evidence: str, *, remedy: str = "", command: str = "", source: str = "") -> Finding:
    """The finding that a rule gives where it applies; its remedy and source are the rule's unless told otherwise."""
    return Finding(
        code=rule.code,
        severity=rule.severity,
        where=where,
        evidence=evidence,
        remedy=remedy or rule.remedy,
        title=rule.title,
        why=rule.why,
        command=command,
        source=source or rule.source,
    )
