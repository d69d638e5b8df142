"""torchlap audit as a user types it: on scripts that end oddly, and on the experiment of 2022."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TESTS
from typer.testing import CliRunner, Result

from torchlap.cli.app import app
from torchlap.measuring.ladder import SCRIPT


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="torchlap")


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


def test_a_script_keeps_its_arguments_input_output_files_children_and_exit_code(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
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
    open(sys.argv[1], "w").write(f"{sys.argv[2:]} {sys.stdin.read()} {forked} {spawned} {elapsed:.3f} {__file__}")
    print("printed")
    sys.exit(3)
""")
    kept = tmp_path / "kept.txt"
    words = [
        sys.executable,
        "-m",
        "torchlap",
        "audit",
        "--format",
        "json",
        str(path),
        str(kept),
        "--format",
        "own",
        "-x",
    ]
    done = subprocess.run(words, input="typed", capture_output=True, text=True, check=False, timeout=100)
    arguments, rest = kept.read_text().split("] ")
    assert arguments == "['--format', 'own', '-x'"
    assert rest.split()[:4] == ["typed", "5", "('__mp_main__',", "'__mp_main__')"]
    assert rest.endswith(str(path))
    assert done.returncode == 3
    assert "printed" in done.stderr
    told = json.loads(done.stdout)
    assert told["run"]["trace"]["steps"] == 3
    assert told["run"]["trace"]["ending"] == "exited"


def test_a_script_that_raises_shows_its_own_traceback_and_what_it_did_before(script: Callable[[str], Path]) -> None:
    path = script("train()\nraise ValueError('own words')\n")
    done = subprocess.run(
        [sys.executable, "-m", "torchlap", "audit", str(path)], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert done.stderr.splitlines()[1].endswith('own script.py", line 16, in <module>')
    assert done.stderr.splitlines()[-1] == "ValueError: own words"
    assert "TL406" in done.stdout
    assert "It ended with exit code 1 (ValueError: own words)" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("train()\nos._exit(7)\n", 7, "It ended with exit code 7"),
        ("train()\ntime.sleep(4)\nos.kill(os.getpid(), signal.SIGKILL)\n", 137, "It was ended by SIGKILL"),
        ("while True:\n    train()\n", 0, "It was stopped as asked"),
    ],
)
def test_a_script_that_ends_itself_is_killed_or_goes_on_forever_is_told_of(
    script: Callable[[str], Path], text: str, code: int, sentence: str
) -> None:
    words = [sys.executable, "-m", "torchlap", "audit", "--stop-after", "10s", str(script(text))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stdout.split())
    assert "training steps on cpu" in done.stdout


def test_ctrl_c_ends_the_script_and_tells_what_it_did(script: Callable[[str], Path]) -> None:
    path = script("print('ready', flush=True)\nwhile True:\n    train()\n")
    words = [sys.executable, "-m", "torchlap", "audit", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130
    assert "It was interrupted: what it did until then is told." in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere.py",), "torchlap: The script nowhere.py does not exist: name a Python file.\n"),
        ((TESTS,), f"torchlap: The script {TESTS} is a folder: name a Python file.\n"),
        (("--stop-after", "soon", "x.py"), "torchlap: 'soon' is no time limit"),
        (("--models", "alexnet", "x.py"), "torchlap: --models and --out are for the experiment of 2022"),
        (("--models", "resnet50"), "torchlap: 'resnet50' was not in the experiment: choose of vgg16, alexnet"),
        (("--stop-after", "60s"), "torchlap: --stop-after is for a script: name one, or leave it out.\n"),
    ],
)
def test_what_cannot_be_audited_is_said_in_a_sentence(words: tuple[object, ...], sentence: str) -> None:
    done = command("audit", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


@pytest.mark.models
def test_the_experiment_of_2022_is_told_what_is_wrong_with_it() -> None:
    options = [
        "--devices",
        "cpu",
        "--models",
        "alexnet,squeezenet1_0",
        "--batches",
        "4",
        "--cpu-images",
        "16",
        "--size",
        "64",
    ]
    words = [sys.executable, "-m", "torchlap", "audit", "--format", "json", str(SCRIPT), *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr
    codes = {finding["code"] for finding in json.loads(done.stdout)["findings"]}
    assert codes >= {"TL409", "TL410", "TL411", "TL403", "TL406"}
    assert "squeezenet1_0 had to be left out" in done.stderr
