"""torchlap audit, with the real tracer in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, TESTS, invoke

from torchlap.measuring.ladder import SCRIPT

AUDIT = [sys.executable, "-m", "torchlap", "audit"]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "own script.py"
        path.write_text(TRAINING + text)
        return path

    return write


TRAINING = """\
import os, signal, sys, time
import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def train():
    start = time.time()
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.ones(2, 4)), torch.tensor([0, 1])).backward()
        optimizer.step()
    return time.time() - start

"""


def audit(*words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [*AUDIT, *map(str, words)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_SECONDS
    )


def test_a_script_keeps_its_arguments_input_output_files_and_exit_code(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    path = script("""\
elapsed = train()
open(sys.argv[1], "w").write(f"{sys.argv[2:]} {sys.stdin.read()} {elapsed:.3f} {__file__}")
print("printed")
sys.exit(3)
""")
    kept = tmp_path / "kept.txt"
    done = audit("--format", "json", path, kept, "--format", "own", "-x", stdin="typed")
    arguments, rest = kept.read_text().split("] ")
    assert arguments == "['--format', 'own', '-x'"
    assert rest.split()[0] == "typed"
    assert rest.endswith(str(path))
    assert done.returncode == 3
    assert "printed" in done.stderr
    trace = json.loads(done.stdout)["run"]["trace"]
    assert (trace["steps"], trace["ending"]) == (3, "exited")


def test_a_script_that_raises_shows_its_own_traceback_and_what_it_did_before(script: Callable[[str], Path]) -> None:
    done = audit(script("train()\nraise ValueError('own words')\n"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert done.stderr.splitlines()[1].endswith('own script.py", line 16, in <module>')
    assert done.stderr.splitlines()[-1] == "ValueError: own words"
    assert "TL406" in done.stdout
    assert "ValueError: own words" in " ".join(done.stdout.split())


def test_an_option_of_the_audit_after_the_scripts_name_is_reported(script: Callable[[str], Path]) -> None:
    path = script("print(sys.argv[1:], '--fix-suggestions')\n")
    done = audit(path, "--format=json", "--fix-suggestions", "--lr", "3")
    assert "['--format=json', '--fix-suggestions', '--lr', '3']" in done.stdout
    assert done.stderr == (
        "--format is passed to own script.py: options of torchlap audit go before the script's name.\n"
    )


def test_a_script_that_raises_before_any_step_is_not_called_fine(script: Callable[[str], Path]) -> None:
    done = audit(script("raise RuntimeError('boom')\n"))
    words = " ".join(done.stdout.split())
    assert done.returncode == 5
    assert "nothing was audited: the script failed before its first training step (RuntimeError)" in words
    assert "no problems" not in words
    assert "no timing problems" not in words.lower()


def test_ctrl_c_ends_the_script_and_reports_what_it_did(script: Callable[[str], Path]) -> None:
    words = [*AUDIT, str(script("train()\nprint('ready', flush=True)\nwhile True:\n    train()\n"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        printed = process.stdout.read()
    assert process.returncode == 130
    assert "training steps on cpu" in printed
    assert "interrupted" in printed


def test_a_file_of_the_current_folder_shadows_no_module_of_the_tracer(tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("raise SystemExit('shadowed')")
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "fine.py"
    path.write_text("print('fine')")
    command = [sys.executable, "-P", "-m", "torchlap", "audit", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_SECONDS, cwd=tmp_path
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (5, "fine"), done.stderr
    assert "nothing was audited" in done.stdout


@pytest.mark.long
def test_a_repaired_copy_is_written_beside_the_script_and_run(script: Callable[[str], Path]) -> None:
    steps = "for _ in range(9):\n    model(torch.ones(2, 4)).sum().backward()\n    optimizer.step()\n"
    path = script(f"start = time.time()\n{steps}seconds = time.time() - start\n")
    done = audit("--fix-suggestions", path)
    copy = path.with_name("own script.fixed.py")
    assert "torchlap_times.append(seconds)" in copy.read_text()
    assert "Wrote own script.fixed.py with repairs of TL406" in done.stdout
    assert "before, " in done.stdout
    copy.write_text("my own file")
    assert "exists, but torchlap did not write it: move" in audit("--fix-suggestions", path).stderr


@pytest.mark.long
def test_a_scripts_own_processes_are_not_traced(script: Callable[[str], Path], tmp_path: Path) -> None:
    path = script("""\
import multiprocessing

def child(queue):
    queue.put(("__mp_main__", __name__))

if __name__ == "__main__":
    elapsed = train()
    pid = os.fork()
    if pid == 0:
        time.time() - time.time()
        os._exit(5)
    forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    queue = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(queue,))
    process.start()
    spawned = queue.get()
    process.join()
    open(sys.argv[1], "w").write(f"{forked} {spawned}")
""")
    kept = tmp_path / "kept.txt"
    done = audit("--format", "json", path, kept)
    assert kept.read_text() == "5 ('__mp_main__', '__mp_main__')"
    assert json.loads(done.stdout)["run"]["trace"]["steps"] == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("train()\nos._exit(7)\n", 7, "exit code 7"),
        ("train()\ntime.sleep(4)\nos.kill(os.getpid(), signal.SIGKILL)\n", 137, "SIGKILL"),
        ("while True:\n    train()\n", 0, "stopped"),
    ],
)
def test_a_script_that_ends_abnormally_is_reported_up_to_its_end(
    script: Callable[[str], Path], text: str, code: int, words: str
) -> None:
    done = audit("--stop-after", "30s", script(text))
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stdout.split())
    assert "training steps on cpu" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere.py",), "torchlap: The script nowhere.py does not exist: "),
        ((TESTS,), f"torchlap: The script {TESTS} is a folder: "),
        (("--stop-after", "soon", "x.py"), "torchlap: Invalid time limit 'soon': "),
        (("--models", "alexnet", "x.py"), "torchlap: --models and --out "),
        (("--models", "resnet50"), "torchlap: 'resnet50' is not one of the experiment's models: "),
        (("--stop-after", "60s"), "torchlap: --stop-after "),
        (("--format", "sarif"), "torchlap: --format sarif needs a script: "),
        (("--fix-suggestions",), "torchlap: --fix-suggestions needs a script: "),
        (("--fix-suggestions", "--format", "json", "x.py"), "torchlap: --fix-suggestions writes text: "),
    ],
)
def test_a_script_that_cannot_be_audited_is_refused_in_one_sentence(words: tuple[object, ...], sentence: str) -> None:
    result = invoke("audit", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.models
def test_the_2022_experiment_has_its_known_faults() -> None:
    words = ("--devices", "cpu", "--models", "alexnet,squeezenet1_0", "--batches", 4, "--cpu-images", 16, "--size", 64)
    done = audit("--format", "json", SCRIPT, *words)
    assert done.returncode == 1, done.stderr
    codes = {finding["code"] for finding in json.loads(done.stdout)["findings"]}
    assert codes >= {"TL409", "TL410", "TL411", "TL403", "TL406"}
    assert "squeezenet1_0 had to be left out" in done.stderr
