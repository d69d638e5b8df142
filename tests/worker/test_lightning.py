"""Lightning modules: their own training step and optimizer, from a batch or from a loader."""

from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from virtual import Clock

import torchlap
from torchlap.schema.recipe import Recipe
from torchlap.worker.cell.returned import subject_of
from torchlap.worker.cell.sources import Fixed, Loaded, Source
from torchlap.worker.cell.step import Step

lightning = pytest.importorskip("lightning", reason="lightning is not installed")

ROWS = 8


class Net(lightning.LightningModule):  # type: ignore[misc, name-defined]  # lightning need not be installed
    """A module as people write it: it logs, although no Trainer listens."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def training_step(self, batch: Any, _: int) -> Tensor:
        inputs, targets = batch
        loss = nn.functional.cross_entropy(self.layer(inputs), targets)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)}


def samples(rows: int) -> tuple[Tensor, Tensor]:
    return torch.rand(rows, 6, generator=torch.Generator().manual_seed(1)), torch.arange(rows) % 3


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*samples(5 * ROWS)), batch_size=ROWS)


@pytest.mark.filterwarnings("ignore:.*self.log.*")
@pytest.mark.parametrize("data", [samples(ROWS), loader()], ids=["batch", "loader"])
def test_its_own_step_and_optimizer_train_it(data: Any) -> None:
    subject = subject_of("net.py:make", (Net(), data))
    assert subject.rows == ROWS
    cpu, layout = torch.device("cpu"), torch.preserve_format
    if subject.loader:
        source: Source = Loaded(subject.loader, ROWS, cpu, layout, subject.pair)
    else:
        assert subject.batch
        source = Fixed(subject.batch, cpu, layout)
    step = Step(subject, source, Recipe(), cpu, "train")
    step()
    first = step.loss()
    for _ in range(20):
        step()
    assert step.loss() < first
    assert isinstance(step._optimizer, torch.optim.SGD)
    assert step._optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 0.9**21)
    evaluated = Step(replace(subject, scheduler=None), source, Recipe(), cpu, "eval")
    evaluated()
    assert evaluated.loss() > 0


@pytest.mark.filterwarnings("ignore:.*self.log.*")
@pytest.mark.parametrize("data", [samples(ROWS), loader()], ids=["batch", "loader"])
def test_it_is_measured_as_any_other_module(data: Any, tmp_path: Path, clock: Clock, workers_here: None) -> None:
    asked: dict[str, Any] = {"devices": "cpu", "budget": 20, "out": tmp_path / "run.jsonl", "progress": False}
    with clock.ticking():
        run = torchlap.measure(Net(), data, **asked)
    (row,) = run.rows()
    assert (row["model"], row["batch"], row["unit"], row["failure"]) == ("Net.py:make", str(ROWS), "samples", None)
    assert row["items_per_second"]
    assert row["bottleneck"]
