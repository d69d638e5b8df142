"""The command as a user types it: help, bad input, interruption, a full disk, a stream that is closed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import OWN, Command

import torchlap as package
from torchlap import figures, load
from torchlap.schema.events import Round, RunFinished

COMMAND = [sys.executable, "-m", "torchlap"]
MEBIBYTE = 1 << 20


def own(function: str) -> str:
    return f"{OWN}:{function}"


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, *map(str, words)], check=False, capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys; from torchlap.cli.app import app\n"
        f"try: app({words!r}, prog_name='torchlap')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'rich', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_one_line() -> None:
    done = run("--version")
    assert (done.stdout, done.returncode) == (f"torchlap {package.__version__}\n", 0)


def test_all_names_of_the_package_exist_and_are_its_namespace() -> None:
    names = dir(package)
    assert all(getattr(package, name) for name in names)
    assert names == sorted([*package.api.__all__, "__version__"])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def odd(function: str) -> str:
    return f"{OWN.with_name('odd.py')}:{function}"


BAD_INPUT = [
    (["resnet19"], "did you mean resnet18"),
    (["timm:resnet18"], "give a torchvision model"),
    (["--devices", "cuda:7"], "There is no device 'cuda:7' here: torch finds cpu"),
    (["--devices", ""], "There is no device"),
    (["--batch", "0"], "'0' is no batch size"),
    (["--batch", "-1"], "'-1' is no batch size"),
    (["--batch", "x"], "'x' is no batch size"),
    (["--batch", ""], "'' is no batch size"),
    (["--budget", "0"], "'0' is no budget"),
    (["--budget", "soon"], "'soon' is no budget"),
    (["--phase", "test"], "'test' is no phase"),
    (["--recipe", "fp64"], "'fp64' is no part of a recipe"),
    (["--recipe", "fp16+bf16"], "names both"),
    (["--suite", "slow"], "There is no suite 'slow'"),
    (["--precision-target", "0"], "'0' is no precision target"),
    (["--workers", "2"], "--data-through loader"),
    (["--data-through", "loader", "--workers", "many"], "'many' is no number of workers"),
    (["--weights", "none"], "none"),
    (["resnet18", "--data", "mnist"], "check the network, or use --data mnist-1k"),
    (["resnet18", "--weights", "pretrained"], "check the network, or leave out --weights pretrained"),
    (["no/such/file.py:make"], "The file no/such/file.py does not exist"),
    ([own("no_such")], "has no function 'no_such'"),
    ([own("not_a_function")], "has no function 'not_a_function'"),
    ([str(OWN)], "does not name a function"),
    ([own("returns_nothing")], "returned NoneType: it must return module, (inputs, targets)"),
    ([own("returns_no_module")], "returned str instead of a module"),
    ([own("raises")], "ValueError at line"),
    ([own("exits")], "SystemExit at line"),
    ([own("without_batch"), "--batch", "8"], "returned 4 inputs, but the batch size is 8"),
    (["--resume", "no-such.jsonl"], "cannot be read"),
    ([odd("killed_by_a_signal_without_a_name")], "killed by signal 40"),
    ([odd("raises_without_words")], "OddError at line"),
    ([odd("raises_what_is_no_text")], "ValueError at line"),
    ([own("small"), "--data-through", "loader"], "brings its own batch"),
    ([own("small"), "--weights", "pretrained"], "makes its own weights"),
    (["odd\x07name"], "is no name of a model"),
    (["x" * 501], "500 printable characters at most"),
    (["--data-through", "loader", "--workers", "9" * 5000], "is no number of workers"),
]


@pytest.mark.parametrize(("words", "said"), BAD_INPUT, ids=lambda value: str(value)[-40:])
def test_bad_input_is_one_sentence_with_its_exit_code(
    words: list[str], said: str, torchlap: Command, tmp_path: Path
) -> None:
    out = [] if "--resume" in words else ["--out", tmp_path / "run.jsonl"]
    batch = [] if "--batch" in words else ["--batch", "4"] * bool(out)
    result = torchlap("run", *words, *batch, *out)
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.exit_code == (4 if "--resume" in words else 2)
    assert not (tmp_path / "run.jsonl").exists()


def test_the_folder_of_a_run_file_must_exist(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", "--out", tmp_path / "missing" / "run.jsonl")
    assert result.exit_code == 4
    assert "does not exist: make it" in result.stderr


def test_a_run_file_is_never_overwritten(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    out.write_text("precious")
    result = torchlap("run", own("small"), "--batch", 4, "--out", out)
    assert result.exit_code == 4
    assert "--resume" in result.stderr
    assert out.read_text() == "precious"


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 100, b"{}\n", b'{"event": "run", "schema": 99}\n'])
def test_junk_cannot_be_resumed(content: bytes, torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    out.write_bytes(content)
    result = torchlap("run", "--resume", out)
    assert result.exit_code == 4
    assert "torchlap" in result.stderr
    assert out.read_bytes() == content


def test_other_options_beside_resume_are_refused(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", "--resume", tmp_path / "run.jsonl", "--batch", 4)
    assert result.exit_code == 2
    assert "--resume continues a run as it was planned" in result.stderr


def test_a_name_that_is_too_long_for_the_disk_is_told(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", own("small"), "--batch", 4, "--out", tmp_path / ("x" * 300))
    assert result.exit_code == 4
    assert "File name too long" in result.stderr


def test_what_is_no_file_is_neither_resumed_nor_said_to_be(torchlap: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    resumed = torchlap("run", "--resume", tmp_path / "fifo")
    assert (resumed.exit_code, "is not a file" in resumed.stderr) == (4, True)
    written = torchlap("run", own("small"), "--batch", 4, "--out", tmp_path / "fifo")
    assert (written.exit_code, "--resume" in written.stderr) == (4, False)


@pytest.mark.parametrize(("function", "batch"), [("dictionary_of_targets", 32), ("knows_its_batch", 32)])
def test_an_own_batch_is_never_cut(function: str, batch: int, torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", batch, "--precision-target", "30%", "--out", tmp_path / "run.jsonl")
    result = torchlap("run", odd(function), *options)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("frozen", "has no trainable parameters"),
        ("loss_of_many", "a tensor of shape (4,): it must return a tensor with one element"),
        ("loss_that_is_a_float", "The loss function returned float: it must return a tensor with one element"),
    ],
)
def test_a_model_that_cannot_train_is_told_in_our_words(
    function: str, said: str, torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    result = torchlap("run", odd(function), "--devices", "cpu", "--batch", 4, "--budget", "10s", "--out", out)
    assert result.exit_code == 1
    assert said in " ".join(result.stdout.split())


@pytest.mark.parametrize(("where", "code"), [("2>/dev/full", 0), (">/dev/full", 0), ("| true", 0)])
def test_output_that_cannot_be_written_does_not_stop_the_measuring(where: str, code: int, tmp_path: Path) -> None:
    words = f"run {own('small')} --devices cpu --batch 4 --precision-target 20% --out {tmp_path}/run.jsonl"
    done = subprocess.run(
        f"{sys.executable} -m torchlap {words} {where}", shell=True, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert isinstance(load(tmp_path / "run.jsonl").events[-1], RunFinished)


def test_a_run_file_in_use_is_not_written_by_a_second(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("small"), "--devices", "cpu", "--batch", "4")
    result = run("run", "--resume", out)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert result.returncode == 4
    assert "is being written by another torchlap" in result.stderr


def test_a_complete_run_resumed_says_the_same_and_writes_nothing(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "20%", "--out", out)
    first = torchlap("run", own("small"), *options)
    before = out.read_bytes()
    again = torchlap("run", "--resume", out)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert out.read_bytes() == before


def test_an_environment_that_is_no_text_is_written_down_as_far_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    words = ["run", own("small"), "--devices", "cpu", "--batch", "4", "--precision-target", "30%", "--out", str(out)]
    environment = {**os.environb, b"KMP_AFFINITY": b"\xff", b"PYTHONIOENCODING": b"ascii"}
    done = subprocess.run([*COMMAND, *words], env=environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    assert load(out).header.facts.environment["KMP_AFFINITY"] == "?"


def started(out: Path, *words: str) -> "subprocess.Popen[str]":
    """A run under way that has measured some rounds."""
    process = subprocess.Popen(
        [*COMMAND, "run", *words, "--out", str(out), "--precision-target", "0.1%", "--budget", "60s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and not (out.exists() and out.read_text().count('"event":"round"') > 2):
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_leaves_nothing_behind_and_resumes(
    number: signal.Signals, torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("small"), own("sleeps"), "--devices", "cpu", "--batch", "4")
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.killpg(process.pid, number)
    printed, said = process.communicate(timeout=2)
    assert process.returncode == 130
    assert f"--resume {out}" in said
    assert "models.py:small" in printed
    assert "Traceback" not in said
    gone, alive = psutil.wait_procs(children, timeout=2)
    assert (len(gone), alive) == (len(children), [])
    ended = load(out).events[-1]
    assert isinstance(ended, RunFinished)
    assert ended.reason == "interrupted"


def test_a_run_cut_off_by_sigkill_leaves_no_worker_and_resumes_to_the_end(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("sleeps"), "--devices", "cpu", "--batch", "4", "--phase", "eval")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(children, timeout=5)[1] == []
    with out.open("a") as file:
        file.write('{"event":"round","compar')  # as a crash in the middle of a line leaves it
    result = run("run", "--resume", out)
    assert result.returncode == 0, result.stderr
    resumed = load(out)
    assert figures(resumed)[0].cells[0].throughput is not None
    assert resumed.remarks == ()


def test_a_full_disk_ends_the_run_and_keeps_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    limit = 6000  # bytes: the header takes about 2,500, and all that there is to measure over 10,000

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run("run", own("small"), "--devices", "cpu", "--batch", "1,2,3,4,5,6,7,8", "--out", out,
               "--precision-target", "0.1%", preexec_fn=small_disk)  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "make room, then continue with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert "models.py:small" in done.stdout
    kept = load(out)
    assert kept.remarks == ()
    assert sum(isinstance(event, Round) for event in kept.events) > 5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_judge_stays_small_while_it_measures(tmp_path: Path) -> None:
    script = (
        "import sys; from torchlap.cli.app import app\n"
        "try: app(sys.argv[1:], prog_name='torchlap')\n"
        "except SystemExit: pass\n"
        "line = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(line.split()[1], 'torch' in sys.modules)"
    )  # not getrusage: its peak may be that of the tests' own process, which forked this one
    words = ["run", own("small"), "--devices", "cpu", "--batch", "4", "--precision-target", "20%"]
    command = [sys.executable, "-c", script, *words, "--out", str(tmp_path / "run.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kibibytes, has_torch = done.stdout.splitlines()[-1].split()
    assert int(kibibytes) < 150 * 1024
    assert has_torch == "False"


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    words = f"run {own('small')} --devices cpu --batch 4 --precision-target 20% --out {tmp_path}/run.jsonl"
    done = subprocess.run(f"{sys.executable} -m torchlap {words} <&- >&- 2>&-", shell=True, timeout=60, check=False)
    assert done.returncode == 0
    assert isinstance(load(tmp_path / "run.jsonl").events[-1], RunFinished)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m torchlap run --help | head -1", shell=True, capture_output=True, text=True, check=True
    )
    assert "Traceback" not in done.stderr


def test_no_line_is_wider_than_the_terminal(torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu,sim:0", "--batch", 4, "--precision-target", "30%", "--budget", "20s", "--out", out)
    torchlap("run", own("small"), *options)
    for columns in (20, 40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = torchlap("run", "--resume", out, "--why")
        assert "Why" in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= columns
        assert "\x1b" not in result.stdout


def test_a_mismatched_torchvision_is_told_before_anything_is_imported(tmp_path: Path) -> None:
    for name, version, needs in (("torch", "2.13.0", ""), ("torchvision", "0.29.2", "Requires-Dist: torch>=2.14.0\n")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    done = run("run", "--out", tmp_path / "run.jsonl", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 3
    assert "torchvision 0.29.2 needs torch>=2.14.0, but torch 2.13.0 is installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "come from different builds"),
        ("import os; os.abort()", "importing torch and torchvision crashes"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "not installed"),
    ],
)
def test_a_torch_that_breaks_on_import_is_told_with_its_remedy(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(body)
    done = run("run", "--out", tmp_path / "run.jsonl", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 3
    assert said.lower() in done.stderr.lower()
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_named_torch_in_the_working_folder_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    done = run(
        "run", "nothing", "--out", tmp_path / "run.jsonl", cwd=tmp_path, env=os.environ | {"PYTHONSAFEPATH": "1"}
    )
    assert done.returncode == 2, done.stderr
    assert "There is no torchvision model 'nothing'" in done.stderr


def test_json_goes_to_the_standard_output_alone(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "30%", "--out", tmp_path / "run.jsonl")
    result = torchlap("run", own("small"), *options, "--format", "json")
    assert json.loads(result.stdout)["run_file"] == str(tmp_path / "run.jsonl")
