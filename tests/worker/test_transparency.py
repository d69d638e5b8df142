"""A script does the same alone and under the tracer, byte by byte."""

import pytest
from audit_transparency import differences, run
from audited_scripts import SCRIPTS

QUICK = ("environment",)
"""What most scripts do; `make test-all` runs the others, too, and benchmarks/audit_transparency.py many more."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[pytest.mark.long] * (path.stem not in QUICK))
        for path in sorted((SCRIPTS / "transparent").glob("*.py"))
    ],
)
def test_a_script_does_the_same_under_the_tracer(name: str) -> None:
    path = SCRIPTS / "transparent" / f"{name}.py"
    alone, traced = run(path, ["--own", "x"], traced=False), run(path, ["--own", "x"], traced=True)
    assert alone.left == traced.left
    assert differences(alone, alone, traced) == []


def test_a_difference_is_found() -> None:
    path = SCRIPTS / "transparent" / "nowhere.py"
    missing, there = run(path, [], traced=False), run(path.with_name("raises.py"), [], traced=False)
    assert "standard error" in differences(missing, missing, there)
