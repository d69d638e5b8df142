"""Several ranks that train together: what each is, how fast they exchange gradients, whether their results agree."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Positive, Seconds, Span, Text

MOST_RANKS = 4096


class Scaling(Struct, frozen=True, kw_only=True):
    """How a plan scales.

    Attributes:
        kind: weak keeps the batch of a device, strong the batch of all devices together.
        ranks: of each group of the plan.
        nodes: hosts that each group but the baseline uses.
        total_batch: of strong scaling.
    """

    kind: Literal["weak", "strong"]
    ranks: tuple[Annotated[int, Meta(ge=2, le=MOST_RANKS)], ...]
    nodes: Positive = 1
    total_batch: Positive | None = None


class RankFacts(Struct, frozen=True, kw_only=True):
    """One rank of a cell.

    Attributes:
        model: of its device; empty for the CPU.
        backend: of torch.distributed, such as nccl.
        threads: of its operators on the CPU.
        loader_workers: processes that load its data.
        peak_bytes: of its device's allocator, or of its process on the CPU; None where that is not available.
        gradient_bytes: that it exchanges in a step.
        transports: that NCCL named in its log, such as P2P/CUMEM or NET/Socket; empty where it named none.
        nvlink: whether its device has an active NVLink; None where that is not known.
    """

    rank: Count
    host: Name
    device: Name
    model: Text = ""
    backend: Name
    threads: Positive
    loader_workers: Count = 0
    peak_bytes: Count | None = None
    gradient_bytes: Count = 0
    transports: tuple[Text, ...] = ()
    nvlink: bool | None = None


class LinkLap(Struct, frozen=True):
    """A timed block of all-reduces; the seconds are those of the rank that took longest."""

    count: Positive
    seconds: Span


class Link(Struct, frozen=True, kw_only=True):
    """All-reduces of `bytes` between `ranks`; `reason` is why there are none."""

    ranks: Positive
    bytes: Count
    laps: Annotated[tuple[LinkLap, ...], Meta(max_length=1000)]
    reason: Text = ""


class RankNumerics(Struct, frozen=True, kw_only=True):
    """Whether ranks together compute what one device would.

    Attributes:
        gradient_error: the norm of the difference between the synchronized gradients of one step and the mean of what
            one device computes for each rank's batch, over the norm of the latter.
        again_error: the same between two computations on one device, which is rounding alone.
        whole_error: the same against one device with all ranks' batches as one batch; None if that was not computed,
            and then `whole_reason` says why.
        limit: the largest error that counts as rounding.
        worst: the parameter with the largest error of its own.
        batch_norm, dropout: whether the model has such layers.
        steps: after which the parameters were compared.
        differing: parameters that are not the same, bit by bit, on all ranks.
        sharded: each rank has its own part of the parameters, so that there is nothing to compare.
        reason: why nothing was checked; empty if it was.
    """

    gradient_error: Seconds = 0.0
    again_error: Seconds = 0.0
    whole_error: Seconds | None = None
    whole_reason: Text = ""
    limit: Seconds = 0.0
    worst: Text = ""
    batch_norm: bool = False
    dropout: bool = False
    steps: Count = 0
    differing: tuple[Text, ...] = ()
    sharded: bool = False
    reason: Text = ""
