"""What makes operators slow: values, memory formats and shapes that change."""

from collections.abc import Iterable
from dataclasses import replace

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.script.timing import counted
from torchlap.schema.trace import Trace

SEARCHES = Rule(
    "TL445",
    "warning",
    "cuDNN searches again for each new input shape",
    "With torch.backends.cudnn.benchmark = True, cuDNN tries all algorithms of a convolution when it gets a shape for "
    "the first time. That pays off if a shape returns many times; where shapes keep changing, the search is a part of "
    "the steps.",
    "Remove cudnn.benchmark = True, or resize or pad the inputs to a few shapes.",
    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#enable-cudnn-auto-tuner",
)

FEWEST_SHAPES = 4
RARE = 0.1


def searches(trace: Trace) -> Iterable[Finding]:
    """Input shapes keep changing while cudnn.benchmark is on; a note where training does not use cuDNN."""
    on_cuda = any(device.startswith("cuda") for device in trace.devices)
    for searched in trace.searched:
        if searched.shapes < FEWEST_SHAPES or searched.rare < RARE * searched.calls:
            continue
        shapes = ", ".join(str(shape) for shape in searched.examples[:3])
        elsewhere = "" if on_cuda else f"; training is on {', '.join(trace.devices)} here, where this has no effect"
        evidence = f"{searched.shapes} input shapes in {searched.calls} calls, such as {shapes}{elsewhere}"
        finding = SEARCHES.finding(str(searched.setting or searched.place), evidence)
        yield finding if on_cuda else replace(finding, severity="note")


CONVERTED = Rule(
    "TL446",
    "warning",
    "channels_last is undone inside the model",
    "A convolution in channels_last returns channels_last. If a layer in between returns a contiguous tensor "
    "(contiguous(), view, a layer without a channels_last implementation), the next convolution converts it back: the "
    "copies can cost more than the format gains.",
    "Find the layer by printing output.is_contiguous(memory_format=torch.channels_last) after each layer; remove "
    "contiguous(), or use contiguous(memory_format=torch.channels_last). Otherwise, train without channels_last.",
    "https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html",
)

SEVERAL_LAYERS = 2
HALF = 0.5


def converted(trace: Trace) -> Iterable[Finding]:
    """A model, or its input, is in channels_last, but its inner convolutions receive contiguous tensors."""
    for formats in trace.formats:
        if formats.converted >= SEVERAL_LAYERS and formats.converted > HALF * formats.convolutions:
            evidence = (
                f"the model or its input is in channels_last, but {formats.converted} of {formats.convolutions} "
                f"convolutions after the first received contiguous tensors, in each of "
                f"{counted(formats.looks, 'check')}"
            )
            yield CONVERTED.finding(str(formats.place), evidence)


SLOW_VALUES = Rule(
    "TL447",
    "warning",
    "an operator is slow for its values",
    "On many CPUs, exp beyond its range, log of zero, sqrt of negative numbers, sin of large numbers, and many "
    "operators with denormal numbers take a slow path. The CPU looks slower than it is, and the time depends on how "
    "the training goes.",
    "Keep the values in the operator's usual range: clamp or scale the input, add a small number before log and sqrt, "
    "or use a combined operator such as log_softmax, logsumexp or logsigmoid.",
)


def slow_values(trace: Trace) -> Iterable[Finding]:
    """An operator was much slower on the script's values than on usual ones.

    Once a loss is not finite, that explains the values, and is a finding of its own.
    """
    if any(None in losses.values for losses in trace.losses):
        return
    for slow in trace.slow:
        evidence = (
            f"{slow.operator} takes up to {slow.factor:.2g} times as long for these values as for values between 0.5 "
            f"and 1, in {counted(slow.count, 'checked call')}: {slow.words}"
        )
        yield SLOW_VALUES.finding(str(slow.place), evidence)


RULES = (searches, converted, slow_values)
