"""What the JSON formats share."""

import json

from torchlap.schema.workload import Cell


def as_ascii(value: object) -> str:
    """JSON in ASCII only, so that nothing in it controls a terminal."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n"


def cell_keys(cell: Cell) -> dict[str, object]:
    """The keys that identify a cell, in every JSON format and in CSV."""
    workload = cell.workload
    return {
        "model": workload.model,
        "batch": workload.batch,
        "unit": workload.unit,
        "phase": workload.phase,
        "recipe": str(cell.recipe),
        "device": cell.device,
    }
