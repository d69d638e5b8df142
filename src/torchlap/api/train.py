"""Train models until they reach an accuracy, and write a run file."""

import time

from msgspec import Struct
from msgspec.structs import replace

from torchlap.api.run import Listener, Record, check_path, header_of, same_models, same_plan
from torchlap.api.workbench import Workbench, check_models, workbench
from torchlap.errors import UsageError
from torchlap.measuring.plan import Options, plan_run
from torchlap.measuring.training import TrainingSession
from torchlap.runs import file as runfile
from torchlap.runs.find import default_path
from torchlap.schema.events import Run
from torchlap.schema.training import MOST_SEEDS, TrainingPlan
from torchlap.schema.workload import Plan, is_hugging_face

DEFAULT_MODEL, DEFAULT_BATCH = "digits_cnn", 50
DEFAULT_TARGET, DEFAULT_SEEDS, DEFAULT_EPOCHS = 0.95, 6, 30
"""The interval of the median exists from six seeds on."""

OWN_RATE, USUAL_RATE = 2e-3, 1e-4
"""Learning rates of `digits_cnn`, and of other models: at 1e-3, some of torchvision's do not start to learn."""

BUDGET_SECONDS = 60.0
"""For each recipe on each device."""


class Training(Struct, frozen=True, kw_only=True):
    """How to train: the accuracy on held-out data, how many seeds, and when to give up.

    Attributes:
        seeds: that many, from 0 on.
        learning_rate: of Adam; None for one that suits the model.
        evaluate_steps: training steps between evaluations; None for an epoch.
    """

    target: float = DEFAULT_TARGET
    seeds: int = DEFAULT_SEEDS
    epochs: int = DEFAULT_EPOCHS
    learning_rate: float | None = None
    evaluate_steps: int | None = None


def train(options: Options, training: Training | None = None, listener: Listener | None = None) -> Run:
    """Train until the accuracy is reached, from several seeds, and write a run file.

    Args:
        options: one model and batch, on devices, in recipes; without a model, `digits_cnn`.
        training: the accuracy, the seeds, and when to give up.
        listener: callbacks during the run.

    Returns:
        The run, as `load` reads it from its file; a resumed run includes its earlier events.

    Raises:
        UsageError: for options that cannot be trained, before anything is trained.
        InstallError: when torch or torchvision cannot be used.
        RunFileError: when the run file cannot be written.
        KeyboardInterrupt: when interrupted; what was trained up to then is in the file.
    """
    training, listener = training or Training(), listener or Listener()
    earlier = runfile.load(options.resume) if options.resume else None
    path = options.resume or options.out or default_path()
    check_path(options, path)
    with workbench() as bench:
        plan = _again(earlier, bench) if earlier else _plan(options, training, bench)
        checked = check_models(bench, plan, options.hang_seconds, strict=options.batches is not None)
        if earlier:
            same_models(plan, checked)
        else:
            plan = checked
        if earlier and options.budget_seconds:
            plan = replace(plan, budget_seconds=options.budget_seconds)
        before = earlier or Run(header_of(bench.machine, plan))
        with Record(before, path, listener, resumed=earlier is not None) as record:
            _session(plan, bench, record, options, listener).train(before.events)
        return record.run


def _session(plan: Plan, bench: Workbench, record: Record, options: Options, listener: Listener) -> TrainingSession:
    return TrainingSession(
        plan,
        bench.processes,
        emit=record.add,
        watch=listener.status,
        clock=time.monotonic,
        started=bench.started,
        hang_seconds=options.hang_seconds,
    )


def _again(earlier: Run, bench: Workbench) -> Plan:
    if earlier.header.plan.training is None:
        raise UsageError("--resume continues a run of torchlap train, but this file is another run: use torchlap run.")
    return same_plan(earlier, bench.machine)


def _plan(options: Options, training: Training, bench: Workbench) -> Plan:
    """The plan of one group, whose cells are trained from each seed.

    Raises:
        UsageError: for several models or batches, and for those that have no accuracy.
    """
    models = options.models or (DEFAULT_MODEL,)
    if len(models) > 1 or len(options.batches or ()) > 1:
        raise UsageError("Give one model and one batch size: a run trains one workload, in one recipe or several.")
    if is_hugging_face(models[0]):
        raise UsageError(
            f"{models[0]} is trained on random tokens, which have no accuracy: use your own file with data."
        )
    if options.data == "synthetic":
        raise UsageError("Random images cannot be learned: use --data mnist-1k or --data mnist.")
    if not 1 <= training.seeds <= MOST_SEEDS:
        raise UsageError(f"Invalid number of seeds {training.seeds}: use a whole number from 1 to {MOST_SEEDS}.")
    batches = options.batches or (DEFAULT_BATCH,)
    names = [device.name for device in bench.description.devices]
    devices = options.devices or next((name for name in names if name != "cpu"), "cpu")
    chosen = replace(options, models=models, batches=batches, phases=("train",), devices=devices)
    plan = plan_run(chosen, bench.description)
    cells = len(plan.groups[0].cells)
    return replace(
        plan,
        suite="train",
        budget_seconds=options.budget_seconds or BUDGET_SECONDS * cells,
        verify=False,
        explain=False,
        training=TrainingPlan(
            target=training.target,
            seeds=tuple(range(training.seeds)),
            learning_rate=training.learning_rate or (OWN_RATE if models[0] == DEFAULT_MODEL else USUAL_RATE),
            epochs=training.epochs,
            evaluate_steps=training.evaluate_steps,
        ),
    )
