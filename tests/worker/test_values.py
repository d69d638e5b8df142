"""What the tracer reads of saved tensors, and where it reads nothing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from torchlap.schema.trace import Place
from torchlap.worker.tracing import values
from torchlap.worker.tracing.denormals import Denormals, sampled
from torchlap.worker.tracing.log import Log

AT = Place("train.py", 1)


@pytest.fixture
def looks(tmp_path: Path) -> values.Values:
    return values.Values(Log(tmp_path / "train.py"), Denormals())


def test_denormal_activations_are_found_in_the_steps_that_are_looked_at(looks: values.Values) -> None:
    loss = (torch.full((64,), 1e-39) * torch.ones(64, requires_grad=True)).square().sum()
    for number in (1, 3, 9):
        looks.look(loss, number, AT, AT)
    assert not looks.denormals.found
    looks.look(loss, 10, AT, AT)
    found = looks.denormals.found[AT, "activations"]
    assert (found.share, found.step, found.first) == (1.0, 10, 10)


def test_nothing_is_read_of_a_graph_that_computes_again_what_it_needs(looks: values.Values) -> None:
    calls: list[int] = []

    def layer(x: Tensor) -> Tensor:
        calls.append(1)
        return (x * 1e-39).square()

    hooks = saved_tensors_hooks(lambda x: x, lambda x: x)
    looks.record_hooks((hooks,))
    loss = checkpoint(layer, torch.ones(8, requires_grad=True), use_reentrant=False).sum()
    looks.look(loss, 10, AT, AT)
    assert calls == [1]
    assert not looks.denormals.found


def test_a_tensor_that_was_overwritten_is_left_to_backward(looks: values.Values) -> None:
    x = torch.ones(8, requires_grad=True) * 1.0
    loss = x.square().sum()
    with torch.no_grad():
        x.add_(1.0)
    looks.look(loss, 10, AT, AT)
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.backward(loss)


def test_sparse_and_empty_tensors_are_passed_over() -> None:
    denormals = Denormals()
    denormals.check([torch.eye(3).to_sparse(), torch.empty(0), torch.ones(2, dtype=torch.float64)], "x", AT, 1)
    assert not denormals.found


@pytest.mark.parametrize("shape", [(1,), (4096,), (4097,), (3, 5000)])
def test_a_sample_is_even_and_small(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    values_read = sampled(tensor)
    assert 0 < values_read.numel() <= 4096
    assert len(set(values_read.diff().tolist())) <= 1


def test_a_sample_of_channels_last_reads_its_own_memory() -> None:
    image = torch.arange(32.0).reshape(1, 2, 4, 4).to(memory_format=torch.channels_last)
    assert sorted(sampled(image).tolist()) == list(map(float, range(32)))


def test_input_shapes_are_counted_for_convolutions_with_the_setting_only(
    looks: values.Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = nn.Sequential(nn.Conv2d(3, 4, 1)), torch.ones(2, 3, 4, 4)
    looks.record_input(model, [image], AT)
    assert not looks.searched
    monkeypatch.setattr("torch.backends.cudnn.benchmark", True)
    looks.record_input(nn.Linear(4, 4), [image], AT)
    assert not looks.searched
    looks.record_input(model, [image], AT)
    assert looks.searched[AT].shapes == {(2, 3, 4, 4): 1}
