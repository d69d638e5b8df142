"""Which kernels of attention a step used: what torch chose, and what a run file then says."""

import json
from pathlib import Path

import pytest
import torch
from support import Command, own
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from torchlap.worker.breakdown.attention import AttentionKernels
from torchlap.worker.breakdown.costs import Costs


def attend(*, grad: bool = True) -> Tensor:
    values = torch.rand(2, 2, 16, 8, requires_grad=grad)
    return nn.functional.scaled_dot_product_attention(values, values, values)


def train() -> None:
    torch.autograd.backward(attend().sum())


def test_the_kernel_that_torch_chose_is_recorded_not_its_backward_pass() -> None:
    with AttentionKernels() as kernels:
        train()
        attend(grad=False)
    assert kernels.calls == {"flash": 2}


def test_math_is_recorded_although_it_is_made_of_plain_operators() -> None:
    with sdpa_kernel(SDPBackend.MATH), Costs() as costs, AttentionKernels() as kernels:
        train()
    assert kernels.calls == {"math": 1}
    assert not any("attention" in operator.operator for operator in costs.counted())
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), Costs(), AttentionKernels() as kernels:
        attend(grad=False)
    assert kernels.calls == {"math": 1}


def test_a_module_of_torch_is_recorded_while_its_operators_are_counted() -> None:
    layer, inputs = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), torch.rand(2, 16, 8)
    with Costs(), AttentionKernels() as kernels:
        layer(inputs).sum().backward()
    assert kernels.calls == {"flash": 1}


def test_nothing_is_recorded_without_attention_nor_after_an_error() -> None:
    with AttentionKernels() as kernels:
        nn.Linear(3, 2)(torch.rand(4, 3))
    assert kernels.calls == {}
    with pytest.raises(ZeroDivisionError), AttentionKernels():
        1 / 0  # noqa: B018
    with AttentionKernels() as kernels:
        train()
    assert kernels.calls == {"flash": 1}


def test_a_torch_without_the_legacy_profiler_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.autograd, "_enable_profiler_legacy")
    with AttentionKernels() as kernels:
        train()
    assert kernels.calls == {}


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_the_run_file_and_the_report_name_the_kernels(torchlap: Command, tmp_path: Path, phase: str) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 4, "--phase", phase, "--budget", "20s", "--out", out)
    shown = torchlap("run", own("attends"), *options, "--why")
    assert "Attention kernels: flash (2 calls) per step." in shown.output
    (cell,) = json.loads(torchlap("report", out, "--format", "json").output)["cells"]
    assert cell["bottleneck"]["attention"] == {"flash": 2}
    assert '"attention":{"flash":2}' in out.read_text()
