"""Which wrong results does `torchlap verify` find? Faults that users reported, built into the simulated accelerator.

    python benchmarks/wrong_numbers.py
    python benchmarks/wrong_numbers.py --planted 4,64   # the faults of tests/own/planted.py, at these batches
    PYTHONPATH=tests/simulated SIMULATED_COST=0 python benchmarks/wrong_numbers.py --more 4,64   # of more_faults.py

Prints a Markdown table: the fault and what it is modeled on, the recipe and batch, the verdict, and the operator and
place that were named. The first rows are the accelerator without a fault.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

TESTS = Path(__file__).parents[1] / "tests"
MODELS, PLANTED = TESTS / "own" / "models.py", TESTS / "own" / "planted.py"


class Fault(Struct, frozen=True):
    """A fault of an operator, the recipe and batch in which it appears, and the published bug that it is modeled on."""

    kind: str
    operator: str
    like: str
    recipe: str = "fp32"
    batch: int = 4
    model: str = "layered"


PRODUCTS = "aten.convolution.default,aten.convolution_backward.default,aten.addmm.default,aten.mm.default"
FAULTS = (
    Fault("does_nothing_on_transposed", "aten.addcdiv_.default", "Adam freezes parameters, #118115", "channels_last"),
    Fault(
        "zero_in_channels_last",
        "aten.native_batch_norm_backward.default",
        "BatchNorm2d backward, #175189",
        "channels_last",
    ),
    Fault("wrong_above_batch_8", "aten.addmm.default", "Linear wrong only above batch 8, #109457", batch=16),
    Fault("one_percent", "aten.convolution_backward.default", "a gradient off by 1%"),
    Fault(
        "one_percent",
        "aten.convolution_backward.default",
        "a gradient off by 1%, in bfloat16",
        model="layered_bfloat16",
    ),
    Fault("as_tf32", PRODUCTS, "TF32 instead of float32"),
    Fault(
        "bfloat16_inside", "aten.native_batch_norm.default", "an operator computed in a lower precision than requested"
    ),
    Fault("one_wrong_element", "aten.convolution.default", "one wrong element in 100,000 and more", batch=64),
    Fault("stale", "aten.convolution_backward.default", "memory that was not written, #193487"),
    Fault("zero", "aten.threshold_backward.default", "a gradient that is always zero"),
    Fault("never_drops", "aten.native_dropout.default", "Dropout that never drops, #165267"),
    Fault("nan_in_a_row", "aten.addmm.default", "NaN in one row"),
    Fault("noisy", "aten.convolution_backward.default", "a sum that varies from call to call"),
    Fault("overflow", "aten.convolution_backward.default", "float16 that overflows", model="layered_float16"),
    Fault("half_more", "aten.max_pool2d_with_indices_backward.default", "a pooling gradient, wrong by half"),
    Fault("half_more", "aten.nll_loss_forward.default", "a loss, wrong by half"),
)


def verified(
    fault: str, recipe: str = "fp32", batch: int = 16, model: str = "layered", file: Path = MODELS
) -> dict[str, object]:
    """The report of `torchlap verify` on the simulated accelerator with a fault."""
    arguments = [
        "verify",
        f"{file}:{model}",
        "--devices",
        "sim:0",
        "--batch",
        str(batch),
        "--recipe",
        recipe,
        "--format",
        "json",
    ]
    paths = os.pathsep.join([str(TESTS / "simulated"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": paths, "SIMULATED_COST": "0", "SIMULATED_FAULT": fault}
    command = [sys.executable, "-m", "torchlap", *arguments, "--no-suite"]
    process = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    cell: dict[str, object] = json.loads(process.stdout)["cells"][0]
    return cell


def row(fault: Fault) -> tuple[str, str, str]:
    """The verdict on a fault, the first operator that was named, and its place in the step."""
    return first_named(verified(f"{fault.kind}:{fault.operator}", fault.recipe, fault.batch, fault.model))


def first_named(cell: dict[str, object]) -> tuple[str, str, str]:
    """The verdict on a cell, the first operator that was named, and its place in the step."""
    numerics = cell["numerics"]
    assert isinstance(numerics, dict)
    first: dict[str, str] = next(iter(numerics["faults"]), {})
    return str(cell["verdict"]), str(first.get("operator", "")), f"{first.get('phase', '')}, {first.get('module', '')}"


def planted(batches: list[int]) -> None:
    """Print a row for each planted fault and batch."""
    sys.path += [str(PLANTED.parent), str(TESTS / "simulated")]
    from planted import PLANTED as FOUND  # noqa: PLC0415  only here, because it imports torch

    print("| fault | batch | verdict | operator | where |\n|---|---|---|---|---|")
    for name, fault in FOUND.items():
        for batch in batches:
            verdict, operator, where = first_named(verified("", batch=batch, model=name, file=PLANTED))
            print(f"| {fault.words} | {batch} | {verdict} | {operator} | {where} |", flush=True)


def more(batches: list[int]) -> None:
    """Print a row for each fault of `more_faults.py`: checked in this process, which is quicker."""
    sys.path += [str(PLANTED.parent)]
    from more_faults import FAULTS as MORE  # noqa: PLC0415  only here, because it imports torch
    from numerics_rates import checked  # noqa: PLC0415

    from torchlap.judge.numerics import verdict  # noqa: PLC0415

    print("| fault | batch | verdict | operator | where |\n|---|---|---|---|---|")
    for name, fault in MORE.items():
        for batch in batches:
            numerics = checked(f"{PLANTED.parent / 'more_faults.py'}:{name}", batch, "fp32", "sim:0")
            first = next(iter(numerics.faults), None)
            place = f"{first.operator} | {first.phase}, {first.module}" if first else " | "
            print(f"| {fault.words} | {batch} | {verdict(numerics)} | {place} |", flush=True)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--more"]:
        more([int(batch) for batch in sys.argv[2].split(",")])
        return
    if sys.argv[1:2] == ["--planted"]:
        planted([int(batch) for batch in sys.argv[2].split(",")])
        return
    print("| fault | recipe, batch | verdict | operator | where |\n|---|---|---|---|---|")
    for recipe in ("fp32", "channels_last"):
        print(f"| none | {recipe}, 16 | {verified('', recipe)['verdict']} | | |", flush=True)
    for model in ("layered_bfloat16", "layered_float16"):
        print(f"| none, {model} | fp32, 16 | {verified('', model=model)['verdict']} | | |", flush=True)
    for fault in FAULTS:
        verdict, operator, where = row(fault)
        print(f"| {fault.like} | {fault.recipe}, {fault.batch} | {verdict} | {operator} | {where} |", flush=True)


if __name__ == "__main__":
    main()
