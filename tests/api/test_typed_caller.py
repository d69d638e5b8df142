"""The public names: a typed program uses all of them, and runs."""

import ast
import pydoc
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from api import typed_caller
from support import HELPERS, ROOT, own
from virtual import Clock

import torchlap
from torchlap.processes import script as scripts

CALLER = Path(typed_caller.__file__)


def test_the_typed_caller_uses_every_public_name_and_no_other() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(CALLER.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torchlap"
    }
    assert sorted(used) == sorted(torchlap.api.__all__)


def test_the_public_names_are_the_namespace() -> None:
    names = dir(torchlap)
    assert all(getattr(torchlap, name) for name in names)
    assert names == sorted([*torchlap.api.__all__, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = torchlap.nothing


def test_help_is_one_screen_with_the_functions_that_people_need() -> None:
    text, _, file = pydoc.plain(pydoc.render_doc(torchlap)).partition("\nFILE\n")
    lines = text.splitlines()
    assert len(lines) + file.count("\n") + 2 <= 50
    assert max(map(len, lines)) <= 80
    described = [line.split("(")[0].strip() for line in lines if re.match(r" +[a-z_]+\(.*\)  ", line)]
    assert described == ["measure", "load", "compare", "verify", "check_up"]
    assert all(hasattr(torchlap, name) for name in described)


@pytest.mark.parametrize(
    "statement",
    ["from torchlap import load", "import torchlap; torchlap.load", "import torchlap; dir(torchlap)"],
)
def test_the_names_are_found_in_a_new_process_without_torch(statement: str) -> None:
    code = f"{statement}; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_package_declares_its_types() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert packages == {"packages": ["src/torchlap"]}  # the whole folder, so the marker as well
    assert (ROOT / "src" / "torchlap" / "py.typed").is_file()


def test_runs_are_measured_loaded_and_compared(tmp_path: Path, clock: Clock, workers_here: None) -> None:
    opened: list[Path] = []
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with clock.ticking():
        runs = [typed_caller.measured((own("small"),), file, opened) for file in files]
    assert opened == files
    throughputs, speed_ups, bottlenecks = typed_caller.numbers(runs[0])
    assert (len(throughputs), len(speed_ups), len(bottlenecks)) == (2, 1, 2)
    assert isinstance(typed_caller.codes(runs[0]), list)
    run, published = typed_caller.loaded(files[0])
    assert run == runs[0]
    assert published.header.plan.suite == "experiment-2022"
    assert "NVIDIA H100 80GB HBM3" in typed_caller.collected(tmp_path), "with the references"
    compared, changes = typed_caller.compared(*files)
    assert len(compared.columns) == 2
    intervals = [change.interval for change in changes]  # a busy machine leaves no ground for a verdict
    assert all(interval is not None and interval.low < 1 < interval.high for interval in intervals)


def test_the_machine_and_a_model_are_checked(clock: Clock, workers_here: None) -> None:
    with clock.ticking():
        check_up, names = typed_caller.checked()
        (cell,) = typed_caller.verified(own("small")).cells
    assert names == [trial.device for trial in check_up.facts.trials] == ["cpu", "sim:0", "sim:1"]
    assert cell.numerics.faults == ()


def test_a_script_is_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TRACER", HELPERS / "stand_in_tracer.py")
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(sys.argv[1:] != ['an argument'])")
    run, codes = typed_caller.audited(script)
    assert (run.exit_code, run.trace.steps, codes) == (0, 3, [])


@pytest.mark.long
@pytest.mark.rare
@pytest.mark.models
def test_the_2022_experiment_is_repaired_step_by_step(tmp_path: Path) -> None:
    ladder = typed_caller.experiment(tmp_path / "run.jsonl")
    assert len(ladder.rungs) >= 5
    assert ladder.measured.events
