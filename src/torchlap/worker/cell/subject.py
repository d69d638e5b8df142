"""What is trained: a module, its loss and optimizer, and where its batches come from."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from torchlap.schema.own import OwnModel
from torchlap.worker.cell.calls import Call, one_argument, rows_of, tensors

WHOLE_NUMBERS = ("int32", "int64")
IMAGE_DIMENSIONS, MOST_CHANNELS = 4, 4


class Subject(Struct, frozen=True, kw_only=True):
    """A module with its loss, and one source of batches.

    Attributes:
        image_size: it is trained on square images of this size.
        batch: it is trained on this fixed batch of its own.
        loader: it is trained on the batches of its own loader.
        pair: inputs and targets of a batch of that loader, if they are not the two halves of it.
        call: how the module takes the inputs of a batch.
        optimizer: makes the optimizer from the parameters; Adam if None.
        scheduler: makes a learning rate scheduler from the optimizer; it takes a step after each of the optimizer's.
        clip: the largest norm of all gradients together; None leaves them as they are.
        step: a whole training step of the user's own: from the batch to the loss.
        rows: how many rows a batch has; of a loader with batches of several sizes, their rounded mean.
        sizes: the fewest and most rows of such a loader's batches; None elsewhere.
        items: how many items a batch has, if they are not its rows.
        validation: held-out batches of the user's own, which can be read again and again.
        own: the form of what a user's function returned.
        place: where the user's function begins, in parentheses after a blank; empty for other models.
        unit: what an item is called, in the plural; `unit_is_own` if the user's function returned it.
    """

    module: nn.Module
    loss: Callable[[Any, Any], Tensor]
    image_size: int | None = None
    batch: tuple[Any, Any] | None = None
    loader: DataLoader[Any] | None = None
    pair: Callable[[Any], tuple[Any, Any]] | None = None
    call: Call = one_argument
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None
    scheduler: Callable[[Optimizer], Any] | None = None
    clip: float | None = None
    step: Callable[[Any, Any], Any] | None = None
    rows: int | None = None
    sizes: tuple[int, int] | None = None
    items: int | None = None
    validation: Iterable[Any] | None = None
    own: OwnModel | None = None
    place: str = ""
    unit: str = "images"
    unit_is_own: bool = False

    def items_of(self, inputs: object, targets: object) -> int | None:
        """How many items a batch has; None if its tensors do not say."""
        if self.items is not None:
            return self.items
        if self.unit == "tokens":
            return token_count(inputs)
        return rows_of(inputs, targets)


def token_count(inputs: object) -> int | None:
    """The elements of the first tensor of whole numbers; None if there is none."""
    ids = [tensor for tensor in tensors(inputs) if str(tensor.dtype).rpartition(".")[2] in WHOLE_NUMBERS]
    return ids[0].numel() if ids else None


def unit_of(inputs: object) -> str:
    """What to call the rows of a batch: images if the inputs are one tensor of images, or else samples."""
    is_images = isinstance(inputs, Tensor) and inputs.dim() == IMAGE_DIMENSIONS and inputs.shape[1] <= MOST_CHANNELS
    return "images" if is_images else "samples"


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters() if not is_lazy(parameter))


def described(inputs: object) -> tuple[str, ...]:
    """Shape and type of each tensor of the inputs, such as `8x3x32x32 float32`."""
    return tuple(
        f"{'x'.join(map(str, tensor.shape))} {str(tensor.dtype).rpartition('.')[2]}" for tensor in tensors(inputs)
    )
