"""A run for histories that are kept elsewhere: Bencher, github-action-benchmark, and PyTorch's benchmark database.

Each takes bare figures, without findings. So a cell without a figure, or with a void one, is left out: `left_out` names
them.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from torchlap.judge.measurement import findings
from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import with_interval
from torchlap.reports.run.rows import Row, judged
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts
from torchlap.stats import Interval, plain

DTYPES = {"fp32": "float32", "tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
"""What PyTorch's database calls a precision."""

SOURCES = {"timm:": "timm", "hf:": "huggingface"}


def left_out(run: Run) -> str:
    """A sentence that names the cells that no export has; empty if every cell has a valid figure."""
    names = [_name(row) for row in judged(run).rows if not _is_valid(row)]
    return f"Left out, because there is no valid figure: {'; '.join(names)}." if names else ""


def _is_valid(row: Row) -> bool:
    return row.result.throughput is not None and not row.void


def _figures(run: Run) -> Iterator[tuple[Row, Interval]]:
    """The cells with a valid figure, and their throughputs."""
    for row in judged(run).rows:
        if row.result.throughput is not None and not row.void:
            yield row, row.result.throughput


def _name(row: Row) -> str:
    """A cell's name, which is the same in every run of the same cell."""
    cell = row.result.cell
    return clean(str(replace(cell, workload=replace(cell.workload, model=row.model))))


def as_bencher(run: Run) -> str:
    """Bencher Metric Format: by the name of each cell, its throughput in items per second, with its interval."""
    return as_ascii(
        {
            _name(row): {
                "throughput": {
                    "value": throughput.value,
                    "lower_value": throughput.low,
                    "upper_value": throughput.high,
                }
            }
            for row, throughput in _figures(run)
        }
    )


def as_github_action_benchmark(run: Run) -> str:
    """A list for github-action-benchmark, as its tool `customBiggerIsBetter` reads it."""
    machine = clean(machine_line(run.header.facts))
    confidence = f"{run.header.plan.confidence:.0%} interval from {{}} laps"
    return as_ascii(
        [
            {
                "name": _name(row),
                "unit": f"{row.unit}/s",
                "value": throughput.value,
                "range": f"{plain(throughput.low, 6)} to {plain(throughput.high, 6)}",
                "extra": f"{with_interval(throughput)} {row.unit}/s, {confidence.format(row.laps)}\n{machine}",
            }
            for row, throughput in _figures(run)
        ]
    )


def as_pytorch_oss(run: Run) -> str:
    """A list of records, one for each metric of each cell, as version 3 of PyTorch's benchmark database reads them.

    What the run file does not know (repository, branch, commit, workflow) is added by who uploads it.
    """
    codes: dict[str, dict[str, None]] = {}
    for finding in findings(run):
        codes.setdefault(finding.where, {})[finding.code] = None
    return as_ascii([record for row, throughput in _figures(run) for record in _records(run, row, throughput, codes)])


def _records(
    run: Run, row: Row, throughput: Interval, codes: Mapping[str, Iterable[str]]
) -> Iterator[dict[str, object]]:
    """The records of a cell; `codes` are those of the findings about each."""
    cell, facts = row.result.cell, run.header.facts
    shared = {
        "timestamp": _timestamp(run.header.started),
        "schema_version": "v3",
        "name": "torchlap",
        "benchmark": {
            "name": "torchlap",
            "mode": "training" if row.phase == "train" else "inference",
            "dtype": DTYPES[cell.recipe.precision],
            "extra_info": {
                "batch": row.batch,
                "recipe": row.recipe,
                "device": row.device,
                **({"arm": row.arm} if row.arm else {}),
                "torchlap": clean(run.header.torchlap),
                "findings": " ".join(codes.get(str(cell), ())),
            },
        },
        "model": {
            "name": row.model,
            "type": "training step" if row.phase == "train" else "forward pass",
            "backend": "inductor" if cell.recipe.compile else "eager",
            "origins": [_origin(cell.workload.model)],
            "extra_info": {},
        },
        "inputs": {},
        "runners": [_runner(facts, cell.device)],
        "dependencies": {clean(name): _version(clean(version)) for name, version in _packages(run, row).items()},
    }
    yield shared | {"metric": _metric("throughput", throughput, f"{row.unit}/s", run.header.plan.confidence)}
    if row.result.speed_up is not None:
        yield shared | {"metric": _metric("speedup", row.result.speed_up, "x", run.header.plan.confidence)}


def _metric(name: str, interval: Interval, unit: str, confidence: float) -> dict[str, object]:
    return {
        "name": name,
        "benchmark_values": [interval.value],
        "target_value": 0.0,
        "extra_info": {
            "unit": unit,
            "low": repr(interval.low),
            "high": repr(interval.high),
            "confidence": repr(confidence),
        },
    }


def _runner(facts: Facts, device: str) -> dict[str, object]:
    known = next((known for known in facts.devices if known.name == device and known.kind != "cpu"), None)
    return {
        "name": clean(known.kind if known else "cpu"),
        "type": clean(known.model or known.kind if known else facts.cpu),
        "cpu_info": clean(facts.cpu),
        "cpu_count": facts.physical_cores,
        "mem_info": "",
        "avail_mem_in_gb": facts.memory_bytes >> 30,
        "gpu_info": clean(known.model) if known else "",
        "gpu_count": 1 if known else 0,
        "gpu_mem_info": "",
        "avail_gpu_mem_in_gb": (known.memory_bytes or 0) >> 30 if known else 0,
        "extra_info": {"system": clean(facts.system)},
    }


def _packages(run: Run, row: Row) -> dict[str, str]:
    """The packages of the cell's arm; of the machine, in a run without arms."""
    own = [arm.packages for arm in run.header.plan.arms if arm.name == row.result.cell.arm]
    return own[0] if own else run.header.facts.packages


def _version(version: str) -> dict[str, object]:
    return {"repo": "", "branch": "", "sha": "", "version": version, "extra_info": {}}


def _origin(model: str) -> str:
    known = next((source for start, source in SOURCES.items() if model.startswith(start)), "")
    return known or ("own file" if ".py" in model else "torchvision")


def _timestamp(started: str) -> int:
    """Seconds since 1970; 0 if the run file does not say."""
    try:
        when = datetime.fromisoformat(started)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        return 0
