"""What is trained: a module, its loss, and where its batches come from."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader


class Subject(Struct, frozen=True):
    """A module with its loss, and one source of batches.

    Attributes:
        image_size: it is trained on square images of this size.
        batch: it is trained on this fixed batch of its own.
        loader: it is trained on the batches of its own loader.
    """

    module: nn.Module
    loss: Callable[[Any, Any], Tensor]
    image_size: int | None = None
    batch: tuple[Any, Any] | None = None
    loader: DataLoader[Any] | None = None


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters() if not is_lazy(parameter))
