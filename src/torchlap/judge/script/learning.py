"""Whether the script's training can teach the model anything: the rules about losses, gradients and optimizers."""

from collections.abc import Iterable
from statistics import median

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.trace import Held, Losses, Trace

FEWEST_LOSSES = 20
TENTH = 10
FALLS = 0.98
"""A loss that ends within two hundredths of where it began has not fallen."""

CANNOT_RUN = Rule(
    "TL409",
    "error",
    "a layer cannot take its input",
    "The model was changed, often at its end, by a layer that does not fit: where squeezenet ends in a convolution of "
    "1 by 1, as others in a Linear layer, a Linear layer is given an image.",
    "Replace a layer by one of its own kind: print(model) shows it; for squeezenet model.classifier[1] = "
    "nn.Conv2d(512, classes, 1).",
)
SHAPES = Rule(
    "TL410",
    "error",
    "the loss means something else",
    "Its shapes are allowed, but read otherwise than meant: float targets of the outputs' shape are probabilities of "
    "classes, a column against a row compares everything with everything. It trains, at the same speed, something "
    "that nobody wanted.",
    "Give cross_entropy the logits of all classes, (N, C), and integer labels, (N,); give other losses two tensors of "
    "the same shape.",
    "https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html",
)
DEAD_OUTPUTS = Rule(
    "TL411",
    "error",
    "outputs that never get a gradient",
    "The loss does not depend on some of the model's outputs, so what computes them is not trained.",
    "Give the loss all outputs of the model, or make the last layer smaller.",
)
NEVER_CHANGES = Rule(
    "TL412",
    "error",
    "parameters that are never trained",
    "The optimizer holds them, but no backward gives them a gradient, or no step changes them: a detach(), a "
    "no_grad() or a learning rate of zero too many. Their gradients are not computed, so a step is faster than it "
    "should be.",
    "Look between these parameters and the loss for what cuts them off; if it is meant, requires_grad_(False), and "
    "leave them out of the optimizer.",
)
DOES_NOT_FALL = Rule(
    "TL413",
    "warning",
    "the loss does not fall",
    "A model that trains learns a fixed set of data by heart within some hundred steps. Where the loss stays, what "
    "was timed may not be training; with data that are random in each step nothing can be learnt.",
    "Look at the labels, the learning rate, and the shapes that the loss is given.",
)
NOT_FINITE = Rule(
    "TL414",
    "error",
    "the loss is not a number",
    "From there on the model computes NaN, in a time that may be another than that of numbers.",
    "Find the first operator that gives one: torch.autograd.set_detect_anomaly(True); a smaller learning rate.",
)
EVAL_MODE = Rule(
    "TL420",
    "warning",
    "trained in evaluation mode",
    "After model.eval() Dropout drops nothing and BatchNorm uses what it had counted before: it is another training, "
    "and another amount of work.",
    "Call model.train() before the loop, and again after each evaluation.",
)
NO_ZERO_GRAD = Rule(
    "TL421",
    "error",
    "gradients are never thrown away",
    "Each backward adds to the gradients that are there: without zero_grad() each step uses the sum of all steps "
    "before.",
    "Call optimizer.zero_grad() once a step, before backward.",
)
HOLDS_NOTHING = Rule(
    "TL422",
    "error",
    "the optimizer holds other parameters",
    "None of what it steps ever had a gradient: it was made from another model, or before the model was built again "
    "or replaced. The model never changes.",
    "Make the optimizer after the model is complete and on its device, from its parameters().",
)
UNHELD = Rule(
    "TL423",
    "warning",
    "parameters that no optimizer holds",
    "Their gradients are computed in each step and never used, and they never change.",
    "Give them to an optimizer, or requires_grad_(False).",
)


def cannot_run(trace: Trace) -> Iterable[Finding]:
    """A model whose forward raised."""
    for seen in trace.cannot_run:
        yield found(CANNOT_RUN, str(seen.place), seen.words)


def shapes(trace: Trace) -> Iterable[Finding]:
    """Losses that were given shapes which broadcast, or mean soft targets."""
    for seen in trace.shapes:
        yield found(SHAPES, str(seen.place), f"{seen.words}, {seen.count} times")


def dead_outputs(trace: Trace) -> Iterable[Finding]:
    """Rows of the last layer without a gradient."""
    for seen in trace.dead_outputs:
        yield found(
            DEAD_OUTPUTS,
            str(seen.place),
            f"{seen.dead} of {seen.outputs} outputs: the gradient of {seen.parameter} was zero there in each of "
            f"{seen.looks} looks",
        )


def never_changes(trace: Trace) -> Iterable[Finding]:
    """Some of an optimizer's parameters have no gradient, or all stay as they were."""
    for held in trace.optimizers:
        if held.without_gradient and held.without_gradient < held.parameters:
            yield found(
                NEVER_CHANGES,
                str(held.made),
                f"{held.without_gradient} of {held.parameters} parameters ({held.elements_without} of {held.elements} "
                f"elements) had no gradient, such as {', '.join(held.names)}",
            )
        elif held.unchanged and not held.without_gradient:
            yield found(NEVER_CHANGES, str(held.made), f"no parameter changed in the steps looked at, of {held.steps}")


def holds_nothing(trace: Trace) -> Iterable[Finding]:
    """An optimizer whose parameters never have a gradient."""
    for held in filter(_holds_nothing, trace.optimizers):
        yield found(
            HOLDS_NOTHING,
            str(held.stepped),
            f"{held.kind} of {held.made} holds {held.parameters} parameters, of which none had a gradient in "
            f"{held.steps} steps",
        )


def _holds_nothing(held: Held) -> bool:
    return bool(held.parameters) and held.without_gradient == held.parameters


def unheld(trace: Trace) -> Iterable[Finding]:
    """Parameters that nobody trains, but where an optimizer holds another model's instead: then they are its effect."""
    if not any(map(_holds_nothing, trace.optimizers)):
        for seen in trace.unheld:
            yield found(UNHELD, str(seen.place), seen.words)


def does_not_fall(trace: Trace) -> Iterable[Finding]:
    """No loss of the script falls; of several, as in adversarial training, one is enough."""
    told = [losses for losses in trace.losses if losses.count >= FEWEST_LOSSES and None not in losses.values]
    if told and not any(_falls(losses) for losses in told):
        for losses in told:
            first, last = _ends(losses)
            yield found(
                DOES_NOT_FALL, str(losses.place), f"{first:.4g} at first, {last:.4g} after {losses.count} steps"
            )


def _ends(losses: Losses) -> tuple[float, float]:
    values = [value for value in losses.values if value is not None]
    part = max(1, len(values) // TENTH)
    return median(values[:part]), median(values[-part:])


def _falls(losses: Losses) -> bool:
    first, last = _ends(losses)
    return last < min(FALLS * first, first / FALLS)


def not_finite(trace: Trace) -> Iterable[Finding]:
    """A loss that is NaN or infinite."""
    for losses in trace.losses:
        bad = next((place for place, value in enumerate(losses.values) if value is None), None)
        if bad is not None:
            about = "about " * (losses.every > 1)
            yield found(
                NOT_FINITE, str(losses.place), f"from {about}step {bad * losses.every + 1} of {losses.count} on"
            )


def in_eval_mode(trace: Trace) -> Iterable[Finding]:
    """Backward through a model whose layers are in evaluation mode."""
    for seen in trace.in_eval:
        yield found(EVAL_MODE, str(seen.place), f"in {seen.count} steps {seen.words}")


def no_zero_grad(trace: Trace) -> Iterable[Finding]:
    """Gradients that were stepped with are added to."""
    for seen in trace.accumulated:
        yield found(NO_ZERO_GRAD, str(seen.place), f"in {seen.count} steps the {seen.words}")


RULES = (
    cannot_run,
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
