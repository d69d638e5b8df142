"""The check of one operator's call: large calls in parts, and roundings that are right."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from torchlap.worker.numerics.axes import pieces
from torchlap.worker.numerics.call_check import SAMPLE, CallCheck, Settings
from torchlap.worker.numerics.combination import Combiner
from torchlap.worker.numerics.reference import cut_to_tf32
from torchlap.worker.numerics.selection import Sampler
from torchlap.worker.numerics.shadow import Shadow
from torchlap.worker.numerics.structure import NONE, SLOPE, direction_of
from torchlap.worker.numerics.tolerance import SINGLE

ATEN = torch.ops.aten
SHAPE = (8, 16, 32, 32)
"""Has more elements than are checked."""

BETAS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}


def kinds(operator: Any, args: tuple[Any, ...], out: Any, *, tf32: bool = False, **named: Any) -> set[str]:
    """The faults that a check of the call finds in `out`."""
    check = CallCheck(operator, args, named, Settings(Sampler(0), Combiner(), SAMPLE, tf32))
    return {judged.verdict.kind for judged in check.judge(out) if judged.verdict.kind}


def values(*shape: int) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        pytest.param(operator, args, id=str(operator))
        for operator, args in [
            (ATEN.hardtanh.default, (values(), 0.0, 6.0)),
            (ATEN.hardtanh_backward.default, (values(), values(), 0.0, 6.0)),
            (ATEN.hardswish_backward.default, (values(), values())),
            (ATEN.leaky_relu_backward.default, (values(), values(), 0.1, False)),
            (ATEN.gelu.default, (values(),)),
            (ATEN.glu.default, (values(), 1)),
            (ATEN.stack.default, ([values(), values()], 1)),
            (ATEN.index_select.default, (values(), 2, torch.arange(31, 3, -2))),
            (ATEN.slice_backward.default, (values(), [8, 16, 40, 32], 2, 4, 36, 1)),
            (ATEN.select_backward.default, (values(), [8, 5, 16, 32, 32], 1, 3)),
            (ATEN.constant_pad_nd.default, (values(), [1, 2, 3, 4], 1.5)),
            (ATEN.pixel_shuffle.default, (values(), 2)),
            (ATEN.ones_like.default, (values(),)),
        ]
    ],
)
def test_a_large_call_is_checked_in_parts(operator: Any, args: tuple[Any, ...]) -> None:
    assert pieces(operator, args, {})
    out = operator(*args)
    assert kinds(operator, args, out.clone()) == set()
    assert kinds(operator, args, out * 1.01) == {"wrong"}


def cut_off(tensor: Tensor) -> Tensor:
    """In TF32, without rounding."""
    return (tensor.view(torch.int32) & ~0x1FFF).view(torch.float32)


def test_a_device_may_cut_operands_off_to_tf32_where_tf32_is_on() -> None:
    left, right = values(256, 512), values(512, 128)
    out = cut_off(left) @ cut_off(right)
    assert kinds(ATEN.mm.default, (left, right), out, tf32=True) == set()
    assert kinds(ATEN.mm.default, (left, right), out, tf32=False) == {"imprecise"}
    assert kinds(ATEN.mm.default, (left, right), out * 1.01, tf32=True) == {"wrong"}


def test_a_number_in_a_tensor_is_filled_too() -> None:
    number = torch.tensor(3.0)
    assert kinds(ATEN.ones_like.default, (number,), torch.tensor(1.0)) == set()
    assert kinds(ATEN.ones_like.default, (number,), torch.tensor(2.0)) == {"wrong"}


def test_rows_that_lean_each_in_its_own_direction_are_no_common_fault() -> None:
    right = values(20, 1000).double()
    own_errors = 2e-5 * torch.linspace(-0.5, 1, 20, dtype=torch.float64)[:, None]
    leaning = direction_of(right * (1 + own_errors), right)
    assert abs(leaning.slope) > SLOPE * SINGLE
    assert leaning.over_limit(SLOPE * SINGLE, NONE) < 1
    assert direction_of(right * (1 + own_errors + 1e-3), right).over_limit(SLOPE * SINGLE, NONE) > 1


@pytest.mark.parametrize(("complement", "found"), [(float(1 - torch.tensor(0.999)), set()), (0.00101, {"wrong"})])
def test_a_fused_optimizer_may_compute_with_its_numbers_in_float32(complement: float, found: set[str]) -> None:
    size = 4096
    lists = [[values(size)], [values(size)], [torch.zeros(size)], [torch.zeros(size)], [], [torch.tensor(1.0)]]
    operator, named = ATEN._fused_adam_.default, {**BETAS, "amsgrad": False, "maximize": False}
    args = tuple([tensor.clone() for tensor in tensors] for tensors in lists)
    check = CallCheck(operator, args, named, Settings(Sampler(0), Combiner(), SAMPLE, tf32=False))
    operator(*args, **named)
    args[3][0].copy_(lists[1][0].square() * complement)
    assert {judged.verdict.kind for judged in check.judge(None) if judged.verdict.kind} == found


def test_a_device_may_cut_operands_off_to_tf32() -> None:
    """Where all products have one sign, the errors of cutting off add up, and those of rounding average out."""
    left, right = values(64, 4096).abs(), values(4096, 64).abs()
    out = cut_to_tf32(left) @ cut_to_tf32(right)
    assert kinds(ATEN.mm.default, (left, right), out, tf32=True) == set()
    assert kinds(ATEN.mm.default, (left, right), out * 0.997, tf32=True) == {"wrong"}
    assert kinds(ATEN.mm.default, (left, right), out) == {"imprecise"}


class WrongMomentum(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Updates running means with another momentum than it was given, once: the reference runs on this device, too."""

    done = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is ATEN.native_batch_norm.default and not self.done:
            self.done = True
            args[3].mul_(0.5)  # the running means
        return out


@pytest.mark.parametrize(("device", "found"), [(nullcontext, set()), (WrongMomentum, {"wrong"})])
def test_running_statistics_are_compared_in_the_second_run_too(device: Any, found: set[str]) -> None:
    """The schema does not say that they are changed: the reference starts from what they were before."""

    def normalized(inputs: Tensor) -> None:
        statistics = states.pop()
        ATEN.native_batch_norm.default(inputs, None, None, *statistics, True, 0.1, 1e-5)

    states = [(torch.zeros(3), torch.ones(3)) for _ in range(2)]
    inputs = values(4, 3, 5, 5)
    again = inputs * 1.01 + 0.01
    shadow = Shadow()
    with shadow:
        normalized(inputs)
    with device(), shadow.again():
        normalized(again)
    assert {fault.kind for fault in shadow.faults.values()} == found
    assert not shadow.unchecked


def test_the_norms_of_a_list_are_compared_whole() -> None:
    tensors = [values(64, 64), values(3)]
    out = ATEN._foreach_norm.Scalar(tensors, 2)
    assert kinds(ATEN._foreach_norm.Scalar, (tensors, 2), out) == set()
    assert kinds(ATEN._foreach_norm.Scalar, (tensors, 2), [out[0], out[1] * 0.9]) == {"wrong"}


def test_the_bias_gradient_of_a_grouped_convolution_is_compared() -> None:
    grad, images, weight = values(8, 16, 16, 16), values(8, 16, 18, 18), values(16, 4, 3, 3)
    args = (grad, images, weight, [16], [1, 1], [0, 0], [1, 1], False, [0, 0], 4, [True] * 3)
    out = ATEN.convolution_backward.default(*args)
    assert kinds(ATEN.convolution_backward.default, args, out) == set()
    assert kinds(ATEN.convolution_backward.default, args, (*out[:2], out[2] * 1.01)) == {"wrong"}


@pytest.mark.parametrize(("factor", "found"), [(1 - 1e-6, set()), (1.0, {"wrong"}), (1 - 2e-6, {"wrong"})])
def test_an_update_of_a_millionth_is_made(factor: float, found: set[str]) -> None:
    weights = values(512)
    check = CallCheck(
        ATEN.mul_.Tensor, (weights, torch.tensor(1 - 1e-6)), {}, Settings(Sampler(0), Combiner(), SAMPLE, tf32=False)
    )
    weights.mul_(factor)
    assert {judged.verdict.kind for judged in check.judge(weights) if judged.verdict.kind} == found


def test_an_update_too_small_for_float32_may_be_lost() -> None:
    weights = values(512)
    check = CallCheck(
        ATEN.mul_.Tensor, (weights, torch.tensor(1 - 1e-9)), {}, Settings(Sampler(0), Combiner(), SAMPLE, tf32=False)
    )
    assert not {judged.verdict.kind for judged in check.judge(weights) if judged.verdict.kind}


@pytest.mark.parametrize("batch", [4, 64])
def test_two_percent_in_bfloat16_are_too_much_for_an_operator_that_rounds_once(batch: int) -> None:
    out = torch.tanh(values(batch, 8)).bfloat16()
    args = (values(batch, 8).bfloat16(), out)
    right = ATEN.tanh_backward.default(*args)
    assert kinds(ATEN.tanh_backward.default, args, right) == set()
    assert kinds(ATEN.tanh_backward.default, args, right * 1.02) == {"wrong"}


def test_attention_with_dropout_is_checked_without_it() -> None:
    """The kernel ignores its causal mask; with dropout its results are random, so only a second call can tell."""
    calls = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, *args: Any, **named: Any) -> Any:
        calls.append(dropout_p)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        return scores.softmax(-1) @ value, scores.logsumexp(-1)

    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("_scaled_dot_product_flash_attention_for_cpu", kernel, "CPU")  # type: ignore[no-untyped-call]

    def gradients(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *args: Any, **named: Any) -> Any:
        return query * 0, key * 0, value * 0

    name = "_scaled_dot_product_flash_attention_for_cpu"
    library.impl(f"{name}_backward", gradients, "CPU")  # type: ignore[no-untyped-call]
    operands = [values(2, 4, 16, 8) for _ in range(3)]
    shadow = Shadow()
    try:
        with shadow:
            out, sums = getattr(ATEN, name).default(*operands, 0.5, True)
            getattr(ATEN, f"{name}_backward").default(out, *operands, out, sums, 0.5, True)
            assert not shadow.faults
            shadow.after_the_step()
    finally:
        library._destroy()  # type: ignore[no-untyped-call]
    assert calls[0] == 0.5
    assert 0.0 in calls[1:]
    assert f"aten.{name}.default" in {fault.operator for fault in shadow.faults.values()}
    assert f"aten.{name}_backward.default" in {fault.operator for fault in shadow.faults.values()}
    assert {shadow.unchecked[name], shadow.unchecked[f"{name}_backward"]} == {
        "with dropout; its calls were checked without"
    }
