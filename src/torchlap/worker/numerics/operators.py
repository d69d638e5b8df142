"""The operator suite: small calls of the kind that users have seen go wrong, on a device, beside float64 on the CPU.

What triggered published faults is here as data: operators x types x layouts x sizes, forward and every gradient, twice,
the second time with the allocator's memory dirtied; random operators by their statistics; optimizers over twenty steps
in which every parameter must change. The numbers are issues of pytorch/pytorch.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import sqrt

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own name for it

from torchlap.schema.numerics import FaultKind, NumericsFault, OperatorSuite
from torchlap.worker import devices
from torchlap.worker.cell.timing import Beat
from torchlap.worker.numerics.shadow import (
    MOST_FAULTS,
    NOT_FINITE,
    SIGMAS,
    UNIT_16_BIT,
    Error,
    Where,
    described,
    error_of,
    fault_of,
    finite_where,
)
from torchlap.worker.numerics.tolerance import allowed, allowed_worst

SEED = 5
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
STEPS = 20
DRAWS = (256, 257)
MOST_BYTES = 1 << 30
"""An input, its float64 and its gradients: calls that need more on the host are left out."""

COPIES_OF_A_CALL = 12
Function = Callable[..., Tensor]


class Call(Struct, frozen=True):
    """What is called, on inputs of which shapes; `layouts` are those of the first. `issue` is where it went wrong."""

    name: str
    function: Function
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...] = ("contiguous", "transposed", "sliced", "strided")
    issue: str = ""
    large: bool = False


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, is_causal=query.shape[-2] > 1)


def _norm(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.batch_norm(images, None, None, weight, bias, training=True)


def _slice_of_weight(images: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(images, weight[:, :, 1])


IMAGES = ("contiguous", "channels_last", "sliced", "sliced channels_last")
CALLS = (
    *(
        Call(name, function, ((1, 7, 4, 3),), (*IMAGES, "transposed"), "#175188")
        for name, function in (
            ("tanh", torch.tanh),
            ("sigmoid", torch.sigmoid),
            ("silu", F.silu),
            ("gelu", F.gelu),
            ("relu", torch.relu),
            ("hardswish", F.hardswish),
            ("exp", torch.exp),
        )
    ),
    Call("batch_norm", _norm, ((4, 3, 8, 8), (3,), (3,)), IMAGES, "#175189, #174345"),
    Call("avg_pool2d", lambda x: F.avg_pool2d(x, 2), ((4, 3, 8, 8),), IMAGES, "#174345"),
    Call("max_pool2d", lambda x: F.max_pool2d(x, 3, 2), ((4, 3, 9, 9),), IMAGES),
    Call("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 3), ((4, 3, 8, 8),), IMAGES),
    Call("group_norm", lambda x: F.group_norm(x, 2), ((4, 4, 8, 8),), IMAGES),
    Call("conv2d", lambda x, w: F.conv2d(x, w, padding=1), ((4, 3, 8, 8), (5, 3, 3, 3)), IMAGES),
    Call("depthwise conv2d", lambda x, w: F.conv2d(x, w, groups=4), ((4, 4, 8, 8), (4, 1, 3, 3)), IMAGES),
    Call("conv2d, sliced weight", _slice_of_weight, ((4, 3, 8, 8), (5, 3, 2, 3, 3)), IMAGES, "#192212"),
    Call("conv_transpose2d", F.conv_transpose2d, ((4, 3, 8, 8), (3, 5, 3, 3)), IMAGES),
    Call("conv1d", F.conv1d, ((64, 3, 16), (5, 3, 3)), issue="#96225"),
    *(
        Call(f"linear, batch {rows}", F.linear, ((rows, 64), (48, 64), (48,)), issue="#109457")
        for rows in (1, 4, 9, 64)
    ),
    Call("linear, 3-D", F.linear, ((3, 64, 64), (48, 64), (48,)), issue="#177116, #189495"),
    Call("mm", torch.mm, ((64, 65), (65, 33)), issue="#180201"),
    Call("bmm", torch.bmm, ((3, 16, 129), (3, 129, 16)), issue="#195163"),
    Call("einsum", lambda a, b: torch.einsum("bik,bkj->bij", a, b), ((2, 16, 65), (2, 65, 16)), issue="#195163"),
    Call("attention, causal", _attention, ((1, 4, 64, 64),) * 3, ("contiguous", "sliced"), "#195910"),
    Call("attention, one query", _attention, ((1, 4, 1, 64), (1, 4, 1024, 64), (1, 4, 1024, 64)), issue="#174861"),
    Call("softmax", lambda x: F.softmax(x, -1), ((9, 65),)),
    Call("log_softmax", lambda x: F.log_softmax(x, -1), ((9, 65),)),
    Call("layer_norm", lambda x, w, b: F.layer_norm(x, (65,), w, b), ((9, 65), (65,), (65,))),
    Call("sum", lambda x: x.sum(-1), ((64, 65),), issue="#180236"),
    Call("mean", lambda x: x.mean(0), ((64, 65),)),
    Call("var", lambda x: x.var(-1), ((64, 65),)),
    Call("cumsum", lambda x: x.cumsum(-1), ((9, 65),)),
    Call("cat", lambda a, b: torch.cat([a, b], 1), ((4, 9), (4, 5))),
    Call("addcmul", torch.addcmul, ((64, 65),) * 3, issue="#118115"),
    Call("addcdiv", lambda a, b, c: torch.addcdiv(a, b, c.abs() + 1), ((64, 65),) * 3, issue="#118115"),
    Call("where", lambda a, b: torch.where(a > b, a, b), ((64, 65),) * 2),
    Call("linear, 32,769 rows", F.linear, ((32769, 64), (16, 64), (16,)), ("contiguous",), "#177116", large=True),
    Call(
        "linear, 3-D batch of 65,537",
        F.linear,
        ((65537, 1, 32), (16, 32), (16,)),
        ("contiguous",),
        "#189495",
        large=True,
    ),
    Call("linear, 50,304 outputs", F.linear, ((9, 64), (50304, 64), (50304,)), ("contiguous",), "#109457", large=True),
    Call("bmm, 32,769 products", torch.bmm, ((1, 16, 32769), (1, 32769, 16)), ("contiguous",), "#195163", large=True),
    Call("conv1d, minibatch 65,537", F.conv1d, ((65537, 1, 8), (2, 1, 3)), ("contiguous",), "#96225", large=True),
    Call("conv2d, minibatch 65,537", F.conv2d, ((65537, 1, 4, 4), (2, 1, 3, 3)), ("contiguous",), "#96225", large=True),
)


def laid_out(values: Tensor, layout: str, device: torch.device) -> Tensor | None:
    """The values on the device in that layout, a leaf's data; None where their shape has no such layout."""
    there = values.to(device)
    if layout.endswith("channels_last"):
        if values.dim() != 4:  # noqa: PLR2004  NCHW
            return None
        there = there.contiguous(memory_format=torch.channels_last)
    if layout.startswith("sliced"):
        whole = torch.cat([there[:1], there])
        return (whole.contiguous(memory_format=torch.channels_last) if "channels_last" in layout else whole)[1:]
    if layout == "transposed":
        return there.transpose(-1, -2).contiguous().transpose(-1, -2) if values.dim() > 1 else None
    if layout == "strided":
        return torch.stack([there, there], -1)[..., 0]
    return there


def check(name: str, say: Callable[[str], None], *, thorough: bool) -> OperatorSuite:
    """Run the suite on a device."""
    begun = time.perf_counter()
    device = devices.select(name)
    devices.set_precision("fp32", device)
    faults: list[NumericsFault] = []
    skipped: dict[str, str] = {}
    count, beat = 0, Beat(lambda calls: say(f"operator suite, {calls} calls"))
    for dirtied in (False, True):
        if dirtied:
            dirty(device)
        for call, layout, dtype in _combinations(thorough=thorough):
            beat(count)
            found = _checked(call, layout, dtype, device, skipped)
            count += found is not None
            faults += found or ()
    say("random operators")
    faults += _random(device)
    say("optimizers")
    faults += _optimizers(device)
    return OperatorSuite(
        device=name,
        calls=count,
        faults=tuple(faults)[:MOST_FAULTS],
        fault_count=len(faults),
        skipped=tuple(f"{what}: {why}" for what, why in skipped.items())[:MOST_FAULTS],
        seconds=time.perf_counter() - begun,
    )


DIRTY_SIZES, DIRTY_TIMES = (1 << 12, 1 << 18, 1 << 22, 1 << 24), 4


def dirty(device: torch.device) -> None:
    """Leave NaN in the memory that the allocator hands out next: an operator that reads what it did not write shows."""
    kept = [torch.full((size,), float("nan"), device=device) for size in DIRTY_SIZES for _ in range(DIRTY_TIMES)]
    del kept


def _combinations(*, thorough: bool) -> Iterator[tuple[Call, str, torch.dtype]]:
    for call in CALLS:
        if call.large and not thorough:
            continue
        for layout in call.layouts:
            for dtype in DTYPES:
                yield call, layout, dtype


def _checked(
    call: Call, layout: str, dtype: torch.dtype, device: torch.device, skipped: dict[str, str]
) -> list[NumericsFault] | None:
    """The faults of one call; None where it could not be made."""
    generator = torch.Generator().manual_seed(SEED)
    values = [torch.randn(shape, generator=generator).to(dtype) for shape in call.shapes]
    if COPIES_OF_A_CALL * 8 * sum(each.numel() for each in values) > MOST_BYTES:
        skipped[call.name] = "too large for a check"
        return None
    first = laid_out(values[0], layout, device)
    if first is None:
        return None
    what = f"{call.name}, {str(dtype).removeprefix('torch.')}"
    try:
        got = _results(call.function, [first, *(each.to(device) for each in values[1:])], layout)
        right = _results(call.function, [each.double() for each in values], layout)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        skipped.setdefault(what, str(error).splitlines()[0][:200] if str(error) else type(error).__name__)
        return None
    own = _own(call, values, layout, right)
    return [
        _fault(call, layout, first, name=name, value=value, seen=seen, limit=limit)
        for name, value in got.items()
        if (seen := _error(value, right[name])).error > (limit := _limit(value, right[name], own[name]))[0]
        or seen.worst > limit[1]
    ]


def _results(function: Function, inputs: Sequence[Tensor], layout: str) -> dict[str, Tensor]:
    """The output, and the gradient of every input; for one layout through `sum`, whose gradient has no stride."""
    leaves = [each.detach().requires_grad_() for each in inputs]
    out = function(*leaves)
    if layout == "transposed":
        out.sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    else:
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(SEED + 1)).to(out.dtype).to(out.device)
        out.backward(weights)  # type: ignore[no-untyped-call]
    gradients = {f"gradient of input {number}": each.grad for number, each in enumerate(leaves)}
    return {"output": out.detach(), **{name: grad for name, grad in gradients.items() if grad is not None}}


def _own(call: Call, values: Sequence[Tensor], layout: str, right: dict[str, Tensor]) -> dict[str, Error]:
    """What the CPU is off by in the same type; where it has no such operator, what rounding alone is off by."""
    rounded = {name: each.to(values[0].dtype) for name, each in right.items()}
    with suppress(NotImplementedError, RuntimeError):
        rounded = _results(call.function, [each.clone() for each in values], layout)
    return {name: error_of(rounded[name], each) for name, each in right.items()}


def _error(value: Tensor, right: Tensor) -> Error:
    got = value.cpu()
    return error_of(got, right) if finite_where(right, got) else NOT_FINITE


def _limit(value: Tensor, right: Tensor, own: Error) -> tuple[float, float]:
    unit, rounding = UNIT_16_BIT.get(value.dtype, 0.0), error_of(right.to(value.dtype), right)
    error, worst = max(own.error, rounding.error), max(own.worst, rounding.worst)
    return allowed(error, value.numel(), unit), allowed_worst(worst, value.numel(), unit)


def _fault(
    call: Call, layout: str, first: Tensor, *, name: str, value: Tensor, seen: Error, limit: tuple[float, float]
) -> NumericsFault:
    place = f"{call.name} ({layout}{f', as {call.issue}' if call.issue else ''})"
    kind: FaultKind = "not_finite" if seen == NOT_FINITE else "wrong"
    return fault_of(kind, Where(name, place), call.name, value, seen=seen, limit=limit[0], inputs=(described(first),))


def _random(device: torch.device) -> list[NumericsFault]:
    """Normal, uniform, Bernoulli, Dropout, into contiguous and transposed tensors: mean, spread, share (#165267)."""
    faults = []
    count = DRAWS[0] * DRAWS[1]
    for layout in ("contiguous", "transposed"):
        for name, draw, mean, deviation in (
            ("normal_", lambda x: x.normal_(), 0.0, 1.0),
            ("uniform_", lambda x: x.uniform_(), 0.5, sqrt(1 / 12)),
            ("bernoulli_", lambda x: x.bernoulli_(0.3), 0.3, sqrt(0.21)),
            ("dropout", lambda x: (F.dropout(x + 1, 0.3) != 0).float(), 0.7, sqrt(0.21)),
        ):
            there = laid_out(torch.zeros(DRAWS), layout, device)
            if there is None:
                continue
            drawn = draw(there).detach().cpu().double()
            off = max(
                abs(float(drawn.mean()) - mean) / (deviation / sqrt(count)),
                abs(float(drawn.std()) - deviation) / (deviation / sqrt(count)),
                abs(float(drawn[:, : DRAWS[1] // 2].mean()) - mean) / (deviation / sqrt(count / 2)),
                abs(float((drawn[:-1] - mean).mul(drawn[1:] - mean).mean())) / (deviation**2 / sqrt(count)),
            )
            if not off <= SIGMAS:
                where = Where("statistics", f"{name} ({layout}, as #165267)")
                said = (f"{off:.0f} standard errors off",)
                faults.append(fault_of("random", where, name, there, seen=Error(off, 0.0), limit=SIGMAS, inputs=said))
    return faults


def _optimizers(device: torch.device) -> list[NumericsFault]:
    """Twenty steps, in which every parameter must change, and as it does in float64 (#118115)."""
    faults = []
    kinds: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
        "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    }
    for name, make in kinds.items():
        for layout in ("contiguous", "transposed", "channels_last", "sliced", "strided"):
            start = torch.randn((4, 3, 5, 6), generator=torch.Generator().manual_seed(SEED))
            there = laid_out(start, layout, device)
            if there is None:
                continue
            got, right = _trajectory(there, make).cpu(), _trajectory(start.double(), make)
            seen = error_of(got.double() - start.double(), right - start.double())
            limit = allowed(error_of(_trajectory(start, make) - start, right - start.double()).error, start.numel())
            if torch.equal(got, start) or not seen.error <= TRAJECTORY * limit:
                where = Where("optimizer", f"{name}, {STEPS} steps ({layout}, as #118115)")
                said = ("a parameter stays as it was",) if torch.equal(got, start) else ()
                faults.append(fault_of("wrong", where, name, there, seen=seen, limit=TRAJECTORY * limit, inputs=said))
    return faults


TRAJECTORY = 4.0
"""Twenty steps add up rounding."""


def _trajectory(start: Tensor, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> Tensor:
    parameter = nn.Parameter(start.detach())
    with torch.no_grad():
        kept = parameter.detach().clone(memory_format=torch.preserve_format)
    optimizer = make([parameter])
    for number in range(STEPS):
        gradient = torch.randn(start.shape, generator=torch.Generator().manual_seed(number)).to(start.dtype)
        parameter.grad = torch.empty_like(parameter).copy_(gradient.to(start.device))
        optimizer.step()
    moved = parameter.detach().clone()
    with torch.no_grad():
        parameter.copy_(kept)  # the caller's values stay as they were
    return moved
