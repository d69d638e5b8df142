"""The 2022 experiment on this machine's devices, repaired one flaw at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
from msgspec import Meta

from torchlap.errors import TorchlapError
from torchlap.processes.script import run, run_untraced
from torchlap.schema.ladder import AS_PUBLISHED, BATCHES, CPU_IMAGES, IMAGES, SIXTH, Figure, Rung
from torchlap.schema.trace import ScriptRun

SCRIPT = Path(__file__).parents[1] / "data" / "experiment_2022.py"

REPAIRS = (
    ("loss on all outputs", "loss"),
    ("waits for the device", "wait"),
    ("warm-up first", "warm-up"),
    ("data on the device", "data"),
    ("float32 on both sides", "float32"),
)
_decoder = msgspec.json.Decoder(tuple[str, int, str, Annotated[float, Meta(gt=0, le=1e9)]])


def published(devices: Sequence[str], models: Sequence[str], images: int, *, quiet: bool) -> tuple[ScriptRun, Rung]:
    """Run the experiment as published, under the tracer."""
    with TemporaryDirectory(prefix="torchlap-") as folder:
        results = Path(folder) / "results"
        words = _words(devices, (*models, SIXTH), BATCHES, images=images, repairs="", results=results)
        audited = run(str(SCRIPT), words, stop_after=None, quiet=quiet)
        return audited, Rung(AS_PUBLISHED, _figures(results) if results.exists() else ())


def repaired(
    devices: Sequence[str], models: Sequence[str], images: int, watch: Callable[[str], None]
) -> tuple[Rung, ...]:
    """Run it with one flaw repaired, then two, and so on, at the smaller batch.

    Raises:
        TorchlapError: when it fails.
    """
    rungs = []
    for count, (title, _) in enumerate(REPAIRS, start=1):
        watch(f"the 2022 experiment, {title} ({count} of {len(REPAIRS)})")
        repairs = ",".join(word for _, word in REPAIRS[:count])
        with TemporaryDirectory(prefix="torchlap-") as folder:
            results = Path(folder) / "results"
            words = _words(devices, models, BATCHES[:1], images=images, repairs=repairs, results=results)
            error = run_untraced(SCRIPT, words)
            if error or not results.exists():
                raise TorchlapError(
                    f"The repaired experiment failed ({error or 'no results'}): check the devices with torchlap doctor."
                )
            rungs.append(Rung(title, _figures(results)))
    return tuple(rungs)


def _words(
    devices: Sequence[str],
    models: Sequence[str],
    batches: Sequence[int],
    *,
    images: int,
    repairs: str,
    results: Path,
) -> list[str]:
    options = {
        "devices": ",".join(devices),
        "models": ",".join(models),
        "batches": ",".join(map(str, batches)),
        "images": str(images),
        "cpu-images": str(min(images, CPU_IMAGES)),
        "repairs": repairs,
        "results": str(results),
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _figures(results: Path) -> tuple[Figure, ...]:
    lines = [_decoder.decode(line) for line in results.read_bytes().splitlines() if line]
    return tuple(Figure(model, batch, device, IMAGES / seconds) for model, batch, device, seconds in lines)
