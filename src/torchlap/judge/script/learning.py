"""Whether the script's training can work: rules about losses, gradients and optimizers."""

from collections.abc import Iterable
from dataclasses import replace
from math import log
from statistics import median

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.script.timing import counted, times
from torchlap.schema.trace import Held, Losses, Trace

CANNOT_RUN = Rule(
    "TL409",
    "error",
    "a layer does not accept its input",
    "A layer of the model, often the last, was replaced by one that does not fit. SqueezeNet, for example, ends in a "
    "1x1 convolution where other models end in a Linear layer: a Linear layer in its place receives an image.",
    "Replace a layer with one of the same kind, as shown by print(model); for SqueezeNet, model.classifier[1] = "
    "nn.Conv2d(512, classes, 1).",
)


def cannot_run(trace: Trace) -> Iterable[Finding]:
    """A model's forward raised an error about shapes; a note if the script handled it and went on."""
    for notice in trace.cannot_run:
        finding = CANNOT_RUN.finding(str(notice.place), notice.words)
        yield finding if trace.ending == "raised" else replace(finding, severity="note")


SHAPES = Rule(
    "TL410",
    "error",
    "the loss does not compute what was intended",
    "The shapes passed to it are valid, but mean something else: cross_entropy treats float targets with the outputs' "
    "shape as class probabilities, and a column and a row broadcast to all pairs. The script trains at the same "
    "speed, but on a different objective.",
    "Pass cross_entropy the logits of all classes, (N, C), and integer labels, (N,); pass other losses two tensors of "
    "the same shape.",
    "https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
)


SOFT = (
    "cross_entropy treats float targets with the shape of the outputs as class probabilities. The script trains at the "
    "same speed, but on a different objective."
)
LABELS = "Pass cross_entropy the logits of all classes, (N, C), and integer labels, (N,)."
BROADCASTS = (
    "Tensors of different shapes broadcast: a column and a row give a matrix of all pairs, so each output is compared "
    "with the targets of all samples. The script trains at the same speed, but on a different objective."
)
SAME_SHAPE = "Pass the loss two tensors of the same shape, for example outputs.squeeze(1), or targets.unsqueeze(1)."


def shapes(trace: Trace) -> Iterable[Finding]:
    """The shapes passed to a loss broadcast, or mean soft targets."""
    for loss in trace.shapes:
        often = f", {times(loss.count)}" if loss.count > 1 else ""
        finding = SHAPES.finding(str(loss.place), f"{loss.words}{often}")
        is_soft = "cross_entropy" in loss.words
        why, remedy = (SOFT, LABELS) if is_soft else (BROADCASTS, SAME_SHAPE)
        yield replace(finding, why=why, remedy=remedy, source=finding.source if is_soft else "")


DEAD_OUTPUTS = Rule(
    "TL411",
    "error",
    "outputs never receive a gradient",
    "The loss does not depend on some of the model's outputs, so the parameters that compute them are not trained.",
    "Pass all outputs of the model to the loss, or make the last layer smaller.",
)

FEWEST_CHECKS = 3


def dead_outputs(trace: Trace) -> Iterable[Finding]:
    """Rows of the last layer have no gradient."""
    for head in trace.dead_outputs:
        if head.looks >= FEWEST_CHECKS:
            evidence = (
                f"the gradient of {head.parameter} was zero for {head.dead} of {head.outputs} outputs in all "
                f"{head.looks} checks"
            )
            yield DEAD_OUTPUTS.finding(str(head.place), evidence)


NEVER_CHANGES = Rule(
    "TL412",
    "error",
    "parameters are never trained",
    "The optimizer holds these parameters, but no backward pass gives them a gradient, or no step changes them. "
    "Typical causes are an unintended detach() or no_grad(), and a learning rate of zero. Where gradients are not "
    "computed, a step is faster than it should be.",
    "Find what cuts these parameters off from the loss. If this is intended, use requires_grad_(False), and leave them "
    "out of the optimizer.",
)

MUCH = 0.1
"""A smaller share of the parameters, such as an unused pooling layer, is only worth knowing."""


def never_changes(trace: Trace) -> Iterable[Finding]:
    """Some of an optimizer's parameters have no gradient, or none of them changes."""
    for optimizer in trace.optimizers:
        if optimizer.without_gradient and optimizer.without_gradient < optimizer.parameters:
            evidence = (
                f"{optimizer.without_gradient} of {optimizer.parameters} parameters ({optimizer.elements_without} of "
                f"{optimizer.elements} elements) had no gradient in {optimizer.steps} steps, such as "
                f"{', '.join(optimizer.names)}"
            )
            finding = NEVER_CHANGES.finding(str(optimizer.made), evidence)
            few = optimizer.elements_without < MUCH * optimizer.elements
            yield replace(finding, severity="note") if few else finding
        elif optimizer.unchanged and not optimizer.without_gradient:
            evidence = f"no parameter changed in any of the checked steps ({optimizer.steps} steps in total)"
            yield NEVER_CHANGES.finding(str(optimizer.made), evidence)


DOES_NOT_FALL = Rule(
    "TL413",
    "warning",
    "the loss is no better than guessing",
    "The cross-entropy of a model that guesses evenly among C classes is ln(C). After this many steps, a model that "
    "learns is below it: the labels may not belong to their inputs, or the timed code may not be training at all. With "
    "random labels, as in a benchmark, there is nothing to learn.",
    "Check the labels, the learning rate, and the shapes passed to the loss. If the labels are random on purpose, "
    "ignore this.",
)

FEWEST_LOSSES = 64
MANY_CLASSES, FEWEST_OF_MANY = 100, 1000
"""With more classes than that, learning anything takes at least so many steps."""

TENTH = 10
FALLS = 0.98
"""A loss that ends within two percent of its start has not decreased."""


def does_not_fall(trace: Trace) -> Iterable[Finding]:
    """A cross entropy neither decreases nor is below that of guessing.

    Other losses need not decrease: in adversarial or reinforcement learning they do not.
    """
    for losses in trace.losses:
        fewest = FEWEST_LOSSES if losses.classes <= MANY_CLASSES else FEWEST_OF_MANY
        if losses.classes < SOME_CLASSES or losses.count < fewest or None in losses.values:
            continue
        first, last = _ends(losses)
        guessing = log(losses.classes)
        if last > FALLS * first and last > FALLS * guessing:
            evidence = (
                f"{first:.4g} at first, {last:.4g} after {losses.count} steps; guessing among {losses.classes} classes "
                f"gives {guessing:.4g}"
            )
            yield DOES_NOT_FALL.finding(str(losses.place), evidence)


SOME_CLASSES = 2


def _ends(losses: Losses) -> tuple[float, float]:
    values = [value for value in losses.values if value is not None]
    part = max(1, len(values) // TENTH)
    return median(values[:part]), median(values[-part:])


LEFT_OUT = "A step with such a loss is of no use, even where the script leaves it out."

NOT_FINITE = Rule(
    "TL414",
    "error",
    "loss is not finite",
    "From that step on, the model computes NaN, and its time may differ from that of finite numbers.",
    "Find the operator that produces the first NaN with torch.autograd.set_detect_anomaly(True); try a smaller "
    "learning rate.",
)


def not_finite(trace: Trace) -> Iterable[Finding]:
    """A loss is NaN or infinite; a note if the script left such steps out, and went on."""
    for losses in trace.losses:
        places = [index for index, value in enumerate(losses.values) if value is None]
        if not places:
            continue
        about = "about " if losses.every > 1 else ""
        step = places[0] * losses.every + 1
        if losses.values[-1] is None or 2 * len(places) > len(losses.values):
            evidence = f"NaN or infinite from {about}step {step} of {losses.count}"
            yield NOT_FINITE.finding(str(losses.place), evidence)
        else:
            evidence = f"NaN or infinite in {about}step {step} of {losses.count}, and finite at the end"
            finding = NOT_FINITE.finding(str(losses.place), evidence)
            yield replace(finding, severity="note", title="some losses are not finite", why=LEFT_OUT)


EVAL_MODE = Rule(
    "TL420",
    "warning",
    "training in evaluation mode",
    "After model.eval(), Dropout drops nothing and BatchNorm uses its running statistics: the model trains "
    "differently, and the amount of work changes.",
    "Call model.train() before the loop, and again after each evaluation.",
)


def in_eval_mode(trace: Trace) -> Iterable[Finding]:
    """A backward pass through a model whose layers are in evaluation mode."""
    for notice in trace.in_eval:
        yield EVAL_MODE.finding(str(notice.place), f"{notice.words}, in {counted(notice.count, 'step')}")


NO_ZERO_GRAD = Rule(
    "TL421",
    "error",
    "gradients are never zeroed",
    "Each backward pass adds to the existing gradients: without zero_grad(), a step uses the sum over all earlier "
    "steps.",
    "Call optimizer.zero_grad() once per step, before backward().",
)


def no_zero_grad(trace: Trace) -> Iterable[Finding]:
    """A backward pass adds to gradients that a step has already used."""
    for notice in trace.accumulated:
        yield NO_ZERO_GRAD.finding(str(notice.place), f"{notice.words}, in {counted(notice.count, 'step')}")


HOLDS_NOTHING = Rule(
    "TL422",
    "error",
    "the optimizer holds the wrong parameters",
    "None of its parameters ever had a gradient: the optimizer was created for another model, or before this one was "
    "rebuilt or replaced. The actual model never changes.",
    "Create the optimizer from the model's parameters() once the model is complete and on its device.",
)


def holds_nothing(trace: Trace) -> Iterable[Finding]:
    """An optimizer's parameters never have a gradient."""
    for optimizer in filter(_holds_nothing, trace.optimizers):
        evidence = (
            f"{optimizer.kind} (created at {optimizer.made}) holds {optimizer.parameters} parameters, none of "
            f"which had a gradient in {optimizer.steps} steps"
        )
        yield HOLDS_NOTHING.finding(str(optimizer.stepped), evidence)


def _holds_nothing(optimizer: Held) -> bool:
    return bool(optimizer.parameters) and optimizer.without_gradient == optimizer.parameters


UNHELD = Rule(
    "TL423",
    "warning",
    "some parameters have no optimizer",
    "Their gradients are computed in every step but never used, and the parameters never change.",
    "Pass them to an optimizer, or use requires_grad_(False).",
)


def unheld(trace: Trace) -> Iterable[Finding]:
    """Parameters without an optimizer, unless an optimizer holds another model's instead, which explains them."""
    if not any(map(_holds_nothing, trace.optimizers)):
        for notice in trace.unheld:
            yield UNHELD.finding(str(notice.place), notice.words)


SOFTMAX_TWICE = Rule(
    "TL442",
    "warning",
    "a loss is given probabilities instead of logits",
    "cross_entropy applies softmax itself, and binary_cross_entropy_with_logits applies sigmoid. If they are given "
    "probabilities, the loss of a perfect prediction is far from 0 (1.46 for 10 classes), and the gradients are small. "
    "nll_loss expects the logarithms of probabilities.",
    "Remove the softmax or sigmoid and pass the logits to the loss, or apply nll_loss to the output of log_softmax.",
    "https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
)


def softmax_twice(trace: Trace) -> Iterable[Finding]:
    """A loss that applies softmax or sigmoid, or expects logarithms, is given probabilities."""
    for notice in trace.softmax_twice:
        yield SOFTMAX_TWICE.finding(str(notice.place), f"{notice.words}, in all {notice.count} checked steps")


RULES = (
    cannot_run,
    softmax_twice,
    shapes,
    dead_outputs,
    holds_nothing,
    never_changes,
    unheld,
    no_zero_grad,
    not_finite,
    does_not_fall,
    in_eval_mode,
)
