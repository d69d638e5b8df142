"""How an audited script ends, and what becomes of it, with a stand-in for the tracer, which imports no torch."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import HELPERS, environment, has_ended, invoke, wait_until

from torchlap.errors import InstallError, UsageError
from torchlap.processes import script as scripts
from torchlap.schema.trace import ScriptRun

Run = Callable[..., ScriptRun]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TRACER", HELPERS / "stand_in_tracer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own script.py"


@pytest.fixture
def run(path: Path) -> Run:
    """Run a script with this text, under the stand-in for the tracer."""

    def run_text(text: str, arguments: Sequence[str] = (), stop_after: float | None = None) -> ScriptRun:
        path.write_text(f"import os, signal, sys, time\n{text}")
        return scripts.run(str(path), arguments, stop_after=stop_after, quiet=True)

    return run_text


def test_a_script_that_finishes_has_its_arguments_and_exit_code(run: Run, path: Path) -> None:
    result = run(
        "open(sys.argv[1], 'w').write(str(sys.argv[2:])); sys.exit(3)", [str(path) + ".out", "--format", "own"]
    )
    assert (result.exit_code, result.signal, result.stopped, result.interrupted) == (3, "", False, False)
    assert Path(f"{path}.out").read_text() == "['--format', 'own']"
    assert (result.trace.steps, result.trace.exit_code) == (3, 3)


def test_a_script_that_is_killed_keeps_its_last_trace(run: Run) -> None:
    result = run("os.kill(os.getpid(), signal.SIGKILL)")
    assert (result.exit_code, result.signal, result.trace.steps) == (137, "SIGKILL", 3)


def test_a_script_that_goes_on_is_stopped_as_if_by_ctrl_c(run: Run) -> None:
    result = run("try: time.sleep(1000)\nexcept KeyboardInterrupt: sys.exit(5)", stop_after=3.0)
    assert (result.exit_code, result.stopped, result.interrupted) == (5, True, False)


def test_a_script_that_ignores_the_interrupt_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "GRACE_SECONDS", 0.5)
    result = run("signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(1000)", stop_after=3.0)
    assert (result.signal, result.stopped) == ("SIGKILL", True)


def test_sigterm_ends_the_script_first(run: Run, path: Path) -> None:
    ready = Path(f"{path}.ready")

    def terminate() -> None:
        wait_until(ready.exists, "the script")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    result = run(f"open({str(ready)!r}, 'w')\ntry: time.sleep(1000)\nexcept KeyboardInterrupt: sys.exit(6)")
    assert (result.exit_code, result.interrupted) == (6, True)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_interrupt_of_torchlap_alone_reaches_the_script(
    number: signal.Signals, run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_is_in_a_terminal", lambda: False)
    ready = Path(f"{path}.ready")

    def interrupt() -> None:
        wait_until(ready.exists, "the script")
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    result = run(f"open({str(ready)!r}, 'w')\ntry: time.sleep(1000)\nexcept KeyboardInterrupt: sys.exit(6)")
    assert (result.exit_code, result.interrupted) == (6, True)


def test_a_script_ends_with_a_torchlap_that_is_killed(path: Path) -> None:
    ready = Path(f"{path}.ready")
    path.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\n"
        f"open({str(ready)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(1000)"
    )
    code = (
        "from torchlap.processes import script; from pathlib import Path; import sys\n"
        f"script.TRACER = Path({str(HELPERS / 'stand_in_tracer.py')!r})\n"
        "script.run(sys.argv[1], (), stop_after=None, quiet=True)"
    )
    judge = subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment())
    wait_until(lambda: ready.exists() and " " in ready.read_text(), "the script")
    judge.kill()
    judge.wait()
    assert all(has_ended(int(number)) for number in ready.read_text().split())


def test_a_trace_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_bytes(b'{"schema": "\xff"}')
    with pytest.raises(UsageError, match="cannot be read"):
        scripts.read_trace(tmp_path / "trace.json")


def test_a_script_that_ends_before_anything_was_recorded_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "TRACER", Path("nothing of that name.py"))
    with pytest.raises(InstallError, match="exit code 2"):
        run("")


def test_a_trace_that_is_too_large_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "LARGEST_TRACE", 10)
    with pytest.raises(UsageError, match="--stop-after"):
        run("")


def test_a_script_that_runs_untraced_returns_the_last_line_of_its_errors(path: Path) -> None:
    path.write_text("import sys; print(sys.argv[1])")
    assert scripts.run_untraced(path, ["own"]) == ""
    path.write_text("raise ValueError('own words')")
    assert scripts.run_untraced(path, []) == "ValueError: own words"
    path.write_text("import os; os.abort()")
    assert scripts.run_untraced(path, []) == "SIGABRT"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [("sys.exit(7)", 7, "exit code 7"), ("os.kill(os.getpid(), signal.SIGKILL)", 137, "SIGKILL"), ("", 0, "steps")],
)
def test_the_command_reports_how_a_script_ended(text: str, code: int, words: str, path: Path) -> None:
    path.write_text(f"import os, signal, sys\n{text}")
    result = invoke("audit", path)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stdout.split())
    assert "3 training steps on cpu" in " ".join(result.stdout.split())


RAISES = """
trace = json.loads(Path(sys.argv[1]).read_text())
Path(sys.argv[1]).write_text(json.dumps(trace | {"ending": "raised", "error": "%s", "exit_code": 1}))
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("ImportError: cannot import name 'nn' from 'torch'", True),
        ("AttributeError: module 'numpy' has no attribute 'array'", True),
        ("ValueError: too large", False),
    ],
)
def test_a_file_that_hides_a_module_is_named_if_an_import_fails(
    error: str, named: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = tmp_path / "tracer" / "start.py"
    tracer.parent.mkdir()
    start = (HELPERS / "stand_in_tracer.py").read_text().partition("    sys.argv = ")[0]
    tracer.write_text(f"import json\n{start}{textwrap.indent(RAISES % error, '    ')}")
    monkeypatch.setattr(scripts, "TRACER", tracer)
    (tmp_path / "numpy.py").touch()
    told = f"; {tmp_path / 'numpy.py'} hides the package numpy: rename it"
    assert run("").trace.error == error + (told if named else "")


def test_a_file_that_hides_a_module_is_named_if_nothing_was_recorded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "TRACER", tmp_path / "missing.py")
    (tmp_path / "dis.py").touch()
    with pytest.raises(InstallError, match=r"dis\.py hides Python's module dis: rename it\.$"):
        run("")


def test_a_script_without_the_tracer_has_its_arguments_and_ends_with_torchlap(path: Path) -> None:
    path.write_text("import sys\nassert sys.argv[1:] == ['--own', '1'], sys.argv\nsys.exit(__name__ != '__main__')")
    assert scripts.run_untraced(path, ("--own", "1")) == ""
    path.write_text("raise ValueError('odd')")
    assert scripts.run_untraced(path, ()) == "ValueError: odd"
    ready = Path(f"{path}.ready")
    path.write_text(f"import os, time\nopen({str(ready)!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(1000)")
    code = (
        "from torchlap.processes import script; from pathlib import Path; import sys\n"
        "script.run_untraced(Path(sys.argv[1]), ())"
    )
    judge = subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment())
    wait_until(lambda: ready.exists() and " " in ready.read_text(), "the script")
    judge.kill()
    judge.wait()
    assert has_ended(int(ready.read_text()))
