"""How surely does a check of numerics find a fault, and what does it cost? False alarms: false_alarms.py.

    python benchmarks/numerics_rates.py found --seeds 200                     # by the size of the fault
    python benchmarks/numerics_rates.py cost --device cuda:0 --batch 4,64     # sampled against thorough, in one run

Each prints a Markdown table.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from msgspec import Struct
from torch import Tensor

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

DEFAULT = ("squeezenet1_0", "resnet18", "mobilenet_v2", "efficientnet_b0", "alexnet", "vgg16")
LIMIT_SECONDS = 3600.0


class Call(Struct, frozen=True):
    """An operator, how its arguments are made, and which result and dimension has its channels.

    Attributes:
        cut: arguments that hold a part of the terms of each sum, and the dimension of each of them.
    """

    name: str
    operator: object
    make: Callable[[torch.Generator, int], tuple[object, ...]]
    cut: dict[int, int]
    result: int = 0
    channels: int = 1


def _convolution(generator: torch.Generator, batch: int) -> tuple[object, ...]:
    images = torch.randn(batch, 16, 10, 10, generator=generator)
    weight = torch.randn(32, 16, 3, 3, generator=generator) / 12
    return images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1


def _gradient(generator: torch.Generator, batch: int) -> tuple[object, ...]:
    images, weight, *_ = _convolution(generator, batch)
    grad = torch.randn(batch, 32, 10, 10, generator=generator)
    return grad, images, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]


def _product(generator: torch.Generator, batch: int) -> tuple[object, ...]:
    return torch.randn(16 * batch, 96, generator=generator), torch.randn(96, 128, generator=generator) / 10


CONVOLUTION, GRADIENTS = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
CALLS = (
    Call("convolution", CONVOLUTION, _convolution, {0: 1, 1: 1}),
    Call("its gradient by the input", GRADIENTS, _gradient, {0: 1, 2: 0}),
    Call("its gradient by the weight", GRADIENTS, _gradient, {0: 0, 1: 0}, 1, 0),
    Call("matrix product", torch.ops.aten.mm.default, _product, {0: 1, 1: 0}),
)
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHUNKS = 4


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
    "one channel off by 10%": _slice(None, 0.1),
    "one channel off by 1%": _slice(None, 0.01),
    "one channel off by 0.1%": _slice(None, 0.001),
    "one row off by 10%": _slice(0, 0.1),
    "one row off by 1%": _slice(0, 0.01),
    "all off by 1%": lambda values, *_: values.mul_(1.01),
    "all off by 0.01%": lambda values, *_: values.mul_(1.0001),
    "stored in bfloat16": lambda values, *_: values.bfloat16().float(),
}


def _is_wrong(call: Call, args: tuple[object, ...], out: object, seed: int) -> bool:
    settings = Settings(Sampler(seed), Combiner(), SAMPLE, tf32=False)
    check = CallCheck(call.operator, args, {}, settings)
    return any(judged.verdict.kind is not None for judged in check.judge(out))


def _accumulated(call: Call, args: tuple[object, ...]) -> Tensor:
    """The result as a sum of a few parts in bfloat16."""
    total: Tensor | None = None
    for number in range(CHUNKS):
        some = [
            value.chunk(CHUNKS, call.cut[place])[number] if isinstance(value, Tensor) and place in call.cut else value
            for place, value in enumerate(args)
        ]
        out = call.operator(*some)  # type: ignore[operator]
        part = (out[call.result] if isinstance(out, tuple) else out).bfloat16()
        total = part if total is None else total + part
    assert total is not None
    return total


def _found(call: Call, fault: str, seeds: int, device: str, *, kind: str, batch: int) -> int:
    """In how many checks the fault was found."""
    count, dtype = 0, TYPES[kind]
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        made = call.make(generator, batch)
        args = tuple(value.to(device, dtype) if isinstance(value, Tensor) else value for value in made)
        place = int(torch.randint(1 << 30, (), generator=generator))
        given = tuple(to_tf32(value) if isinstance(value, Tensor) else value for value in args)
        out = call.operator(*(given if fault == TF32 else args))  # type: ignore[operator]
        results = list(out) if isinstance(out, tuple) else [out]
        if fault == ACCUMULATED:
            results[call.result] = _accumulated(call, args).to(dtype)
        elif fault != TF32:
            changed = FAULTS[fault](results[call.result].float(), call.channels, place)
            results[call.result] = changed.to(dtype)
        count += _is_wrong(call, args, tuple(results) if isinstance(out, tuple) else results[0], seed)
    return count


TF32, ACCUMULATED = "TF32", "four parts added in bfloat16"
NOT_IN_BFLOAT16 = (TF32, "stored in bfloat16")
"""A bfloat16 has fewer bits than TF32."""


def found(
    seeds: int, device: str, kinds: Sequence[str] = tuple(TYPES), batches: Sequence[int] = (4, 64)
) -> Iterator[str]:
    """The share of faults that a check by parts and combinations finds, of each type and batch."""
    each = [(kind, batch) for kind in kinds for batch in batches]
    words = ", ".join(f"{kind} at batch {batch}" for kind, batch in each)
    yield f"| fault ({seeds} seeds, {device}; {words}) | " + " | ".join(call.name for call in CALLS) + " |"
    yield "|---" * (1 + len(CALLS)) + "|"
    for fault in (*FAULTS, TF32, ACCUMULATED):
        rates = [[_rate(call, fault, seeds, device, kind=kind, batch=rows) for kind, rows in each] for call in CALLS]
        yield f"| {fault} | " + " | ".join(map(" / ".join, rates)) + " |"


def _rate(call: Call, fault: str, seeds: int, device: str, *, kind: str, batch: int) -> str:
    if kind == "bf16" and fault in NOT_IN_BFLOAT16:
        return "-"
    return f"{_found(call, fault, seeds, device, kind=kind, batch=batch) / seeds:.1%}"


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


def checked(
    model: str,
    batch: int,
    recipe: str,
    device: str,
    *,
    seed: int = 0,
    sampled: bool = True,
    limit_seconds: float = LIMIT_SECONDS,
) -> Numerics:
    """The check of one cell."""
    request = Verify(slot=0, limit_seconds=limit_seconds, sampled=sampled, seed=seed)
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
    parser.add_argument("what", choices=["found", "cost"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--batch", default="4,64")
    parser.add_argument("models", nargs="*")
    given = parser.parse_intermixed_args()
    batches = [int(batch) for batch in given.batch.split(",")]
    if given.what == "found":
        rows = found(given.seeds, given.device, batches=batches)
    else:
        rows = cost(given.models or DEFAULT, batches, given.device)
    with suppress(KeyboardInterrupt):
        for row in rows:
            print(row, flush=True)


if __name__ == "__main__":
    main()
