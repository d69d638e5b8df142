"""How surely does a check of numerics find a fault, how often does it accuse a right model, and what does it cost?

    python benchmarks/numerics_rates.py found --seeds 200                     # by the size of the fault
    python benchmarks/numerics_rates.py alarms --device cuda:0 --seeds 200    # right models
    python benchmarks/numerics_rates.py cost --device cuda:0 --batch 4,64     # sampled against thorough, in one run

Each prints a Markdown table.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.judge.numerics import verdict
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.requests import Build, Verify
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.cell import bench
from torchlap.worker.numerics.call_check import SAMPLE, CallCheck, Settings
from torchlap.worker.numerics.combination import Combiner
from torchlap.worker.numerics.reference import to_tf32
from torchlap.worker.numerics.selection import Sampler
from torchlap.worker.numerics.step import verify

RIGHT = Path(__file__).parents[1] / "tests" / "own" / "right.py"
DEFAULT = ("squeezenet1_0", "resnet18", "mobilenet_v2", "efficientnet_b0", "alexnet", "vgg16")
LIMIT_SECONDS = 3600.0


class Call(Struct, frozen=True):
    """An operator, how its arguments are made, and which result and dimension has its channels."""

    name: str
    operator: object
    make: Callable[[torch.Generator], tuple[object, ...]]
    result: int = 0
    channels: int = 1


def _convolution(generator: torch.Generator) -> tuple[object, ...]:
    images, weight = (
        torch.randn(32, 32, 14, 14, generator=generator),
        torch.randn(64, 32, 3, 3, generator=generator) / 17,
    )
    return images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1


def _gradient(generator: torch.Generator) -> tuple[object, ...]:
    images, weight, *_ = _convolution(generator)
    grad = torch.randn(32, 64, 14, 14, generator=generator)
    return grad, images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]


def _product(generator: torch.Generator) -> tuple[object, ...]:
    return torch.randn(256, 128, generator=generator), torch.randn(128, 512, generator=generator) / 11


CALLS = (
    Call("convolution", torch.ops.aten.convolution.default, _convolution),
    Call("its gradient by the input", torch.ops.aten.convolution_backward.default, _gradient),
    Call("its gradient by the weight", torch.ops.aten.convolution_backward.default, _gradient, 1, 0),
    Call("matrix product", torch.ops.aten.mm.default, _product),
)


def _element(size: float) -> Callable[[Tensor, int, int], Tensor]:
    def change(values: Tensor, _: int, place: int) -> Tensor:
        values.view(-1)[place % values.numel()] += size * float(values.square().mean().sqrt())
        return values

    return change


def _slice(dimension: int | None, size: float) -> Callable[[Tensor, int, int], Tensor]:
    def change(values: Tensor, channels: int, place: int) -> Tensor:
        along = channels if dimension is None else dimension
        values.select(along, place % values.shape[along]).mul_(1 + size)
        return values

    return change


FAULTS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "none": lambda values, *_: values,
    "one element off by its rms": _element(1),
    "one element off by 0.1 rms": _element(0.1),
    "one element off by 0.01 rms": _element(0.01),
    "one element off by 0.001 rms": _element(0.001),
    "one channel off by 1%": _slice(None, 0.01),
    "one channel off by 0.1%": _slice(None, 0.001),
    "one row off by 1%": _slice(0, 0.01),
    "all off by 1%": lambda values, *_: values.mul_(1.01),
    "all off by 0.01%": lambda values, *_: values.mul_(1.0001),
    "stored in bfloat16": lambda values, *_: values.bfloat16().float(),
}


def _is_wrong(call: Call, args: tuple[object, ...], out: object, seed: int) -> bool:
    settings = Settings(Sampler(seed), Combiner(), SAMPLE, tf32=False)
    check = CallCheck(call.operator, args, {}, settings)
    return any(judged.verdict.kind is not None for judged in check.judge(out))


def _found(call: Call, fault: str, seeds: int, device: str) -> int:
    """In how many checks the fault was found."""
    count = 0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        args = tuple(value.to(device) if isinstance(value, Tensor) else value for value in call.make(generator))
        place = int(torch.randint(1 << 30, (), generator=generator))
        if fault == "TF32":
            out = call.operator(*(to_tf32(value) if isinstance(value, Tensor) else value for value in args))  # type: ignore[operator]
        else:
            out = call.operator(*args)  # type: ignore[operator]
            results = list(out) if isinstance(out, tuple) else [out]
            results[call.result] = FAULTS[fault](results[call.result].clone(), call.channels, place)
            out = tuple(results) if isinstance(out, tuple) else results[0]
        count += _is_wrong(call, args, out, seed)
    return count


def found(seeds: int, device: str) -> Iterator[str]:
    """The share of faults that a check by parts and combinations finds."""
    yield f"| fault ({seeds} seeds, {device}) | " + " | ".join(call.name for call in CALLS) + " |"
    yield "|---" * (1 + len(CALLS)) + "|"
    for fault in (*FAULTS, "TF32"):
        yield f"| {fault} | " + " | ".join(f"{_found(call, fault, seeds, device) / seeds:.1%}" for call in CALLS) + " |"


def _built(model: str, batch: int, recipe: str, device: str, seed: int = 0) -> bench.Bench:
    workload = Workload(model=model, batch=batch, unit="samples", phase="train")
    cell = Cell(workload=workload, recipe=parse_recipe(recipe), device=device)
    threads = torch.get_num_threads()
    return bench.Bench(
        Build(
            slot=0,
            cell=cell,
            data="mnist-1k",
            weights="random",
            threads=threads,
            threads_reason="the default",
            seed=seed + 1,
        )
    )


def checked(model: str, batch: int, recipe: str, device: str, *, seed: int = 0, sampled: bool = True) -> Numerics:
    """The check of one cell."""
    request = Verify(slot=0, limit_seconds=LIMIT_SECONDS, sampled=sampled, seed=seed)
    return verify(_built(model, batch, recipe, device, seed), request, lambda _: None)


def _seconds_of_steps(model: str, batch: int, device: str) -> float:
    """Of the two steps that a check runs, without the check."""
    built = _built(model, batch, "fp32", device)
    begun = time.perf_counter()
    for _ in range(2):
        step = built.step(built.layout)
        step()
        step.loss()
    return time.perf_counter() - begun


def alarms(models: Sequence[str], recipes: Sequence[str], seeds: int, device: str, batch: int) -> Iterator[str]:
    """How often right models are called wrong."""
    yield f"| model (batch {batch}, {seeds} seeds, {device}) | " + " | ".join(recipes) + " |"
    yield "|---" * (1 + len(recipes)) + "|"
    for model in models:
        counts = []
        for recipe in recipes:
            words = [_word(model, batch, recipe, device, seed) for seed in range(seeds)]
            counts.append(", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))
        yield f"| {model.rpartition(':')[2]} | " + " | ".join(counts) + " |"


def _word(model: str, batch: int, recipe: str, device: str, seed: int) -> str:
    try:
        return verdict(checked(model, batch, recipe, device, seed=seed))
    except RuntimeError:  # such as an LSTM in float16 on a CPU
        return "cannot run"


def cost(models: Sequence[str], batches: Sequence[int], device: str) -> Iterator[str]:
    """Seconds of a check by parts and combinations, of one of everything, and of the two steps that both run."""
    yield f"| model ({device}) | batch | its two steps, s | sampled, s | thorough, s | beyond the steps, ratio |"
    yield "|---|---|---|---|---|---|"
    for model in models:
        for batch in batches:
            steps = _seconds_of_steps(model, batch, device)
            some, all_ = (checked(model, batch, "fp32", device, sampled=sampled).seconds for sampled in (True, False))
            ratio = f"{(all_ - steps) / (some - steps):.1f}" if some > steps else ""
            yield f"| {model} | {batch} | {steps:.1f} | {some:.1f} | {all_:.1f} | {ratio} |"


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["found", "alarms", "cost"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--batch", default="4")
    parser.add_argument("--recipe", default="fp32")
    parser.add_argument("models", nargs="*")
    given = parser.parse_intermixed_args()
    batches = [int(batch) for batch in given.batch.split(",")]
    sys.path.append(str(RIGHT.parent))
    if given.what == "found":
        rows = found(given.seeds, given.device)
    elif given.what == "cost":
        rows = cost(given.models or DEFAULT, batches, given.device)
    else:
        from right import MODELS  # noqa: PLC0415  only where the tests are there, too

        models = given.models or [*(f"{RIGHT}:{name}" for name in MODELS), *DEFAULT]
        rows = alarms(models, given.recipe.split(","), given.seeds, given.device, batches[0])
    with suppress(KeyboardInterrupt):
        for row in rows:
            print(row, flush=True)


if __name__ == "__main__":
    main()
