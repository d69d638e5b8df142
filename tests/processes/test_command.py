"""torchlap run as a process of its own: interrupted, killed, on a full disk, with closed streams."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

import psutil
import pytest
from support import PATIENCE_SECONDS, Command, environment, has_ended, known, only_cell, own, wait_until

from torchlap import figures, load
from torchlap.processes.system import TemporaryFolder
from torchlap.schema.events import Failure, Round, RunFinished

COMMAND = [sys.executable, "-m", "torchlap"]
BRIEFLY = ("--devices", "cpu", "--batch", "4", "--precision-target", "50%", "--budget", "30s", "--no-why")


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, "run", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        **{"env": environment()} | options,
    )


def started(out: Path, *words: str, event: str = "round") -> "subprocess.Popen[str]":
    """A run that has measured something, and goes on for long."""
    endless = ("--devices", "cpu", "--batch", "4", "--precision-target", "0.1%", "--budget", "60s")
    process = subprocess.Popen(
        [*COMMAND, "run", *words, *endless, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    try:
        wait_until(lambda: out.exists() and f'"event":"{event}"' in out.read_text(), f"an event: {event}")
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("".join(process.communicate()))
    return process


def is_complete(out: Path) -> bool:
    return isinstance(load(out).events[-1], RunFinished) and only_cell(load(out)).throughput is not None


@pytest.mark.long
def test_the_parent_of_a_run_is_small_and_survives_an_odd_environment(tmp_path: Path) -> None:
    script = (
        "import sys; from torchlap.cli.app import app\n"
        "try: app(sys.argv[1:], prog_name='torchlap')\n"
        "except SystemExit as end: code = end.code\n"
        "status = open('/proc/self/status').read() if sys.platform == 'linux' else 'VmHWM: 0 kB'\n"
        "peak = next(line.split()[1] for line in status.splitlines() if line.startswith('VmHWM'))\n"
        "print(code, peak, 'torch' in sys.modules)"
    )  # not getrusage: its peak may be that of the tests' own process, which forked this one
    out = tmp_path / "run.jsonl"
    words = ["run", own("paced"), *BRIEFLY, "--format", "json", "--out", str(out)]
    odd = {"KMP_AFFINITY": os.fsdecode(b"\xff"), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment(**odd),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    report, _, last = done.stdout.decode().rstrip().rpartition("\n")
    code, kibibytes, has_torch = last.split()
    assert (code, has_torch) == ("0", "False")
    assert int(kibibytes) < 150 * 1024
    assert json.loads(report)["run_file"] == str(out)
    assert b"Traceback" not in done.stderr
    assert load(out).header.facts.environment["KMP_AFFINITY"] == "?"
    assert is_complete(out)


@pytest.mark.long
def test_a_worker_that_is_killed_is_a_record_and_the_next_cell_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    done = run(own("killed"), own("paced"), *BRIEFLY, "--out", out)
    assert done.returncode == 1, done.stderr
    (failure,) = [event for event in load(out).events if isinstance(event, Failure)]
    assert (failure.group, failure.kind, "SIGKILL" in failure.reason) == (0, "crash", True)
    assert figures(load(out))[1].cells[0].throughput is not None


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_run_leaves_no_process_and_resumes(
    number: signal.Signals, torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("paced"), own("small"))
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.killpg(process.pid, number)
    printed, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert f"--resume {out}" in errors
    assert "models.py:paced" in printed
    assert "Traceback" not in errors
    assert all(has_ended(child.pid) for child in children)
    ended = load(out).events[-1]
    assert isinstance(ended, RunFinished)
    assert ended.reason == "interrupted"
    result = torchlap("run", "--resume", out)
    assert result.exit_code == 0, result.output
    assert all(group.cells[0].throughput for group in figures(load(out)))


def test_a_run_cut_off_by_sigkill_leaves_no_worker_and_resumes(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("paced"))
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert all(has_ended(child.pid) for child in children)
    assert torchlap("run", "--resume", out).exit_code == 0
    assert is_complete(out)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path: that of a socket has at most 103 bytes."""
    with TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "killed", [pytest.param(False, marks=pytest.mark.long), pytest.param(True)], ids=["whole", "killed"]
)
def test_a_run_with_a_loader_leaves_no_temporary_folder(killed: bool, short: Path, tmp_path: Path) -> None:
    words = [known("sleeping_loader"), *BRIEFLY, "--recipe", "workers:2", "--out", str(tmp_path / "run.jsonl")]
    here = environment(TMPDIR=str(short))
    with subprocess.Popen([*COMMAND, "run", *words], env=here, stdout=subprocess.DEVNULL) as process:
        if killed:
            wait_until(lambda: list(short.glob("torchlap-*/listener-*")), "a loader")
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            assert all(has_ended(child.pid) for child in children)
        else:
            process.communicate(timeout=PATIENCE_SECONDS)
    wait_until(lambda: not [*short.glob("torchlap-*"), *short.glob("pymp-*")], "the removal of the folder")


def test_where_the_temporary_folder_has_a_long_path_loaders_work_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 90)
    assert len(f"{TemporaryFolder().path}/pymp-12345678/listener-12345678") < 104


def test_a_hung_worker_ends_with_its_parent(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("hangs"), event="prepared")
    written = ""
    while written != (now := out.read_text()):  # the laps go on for a moment
        written = now
        sleep(1.0)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert all(has_ended(child.pid) for child in children)


@pytest.mark.long
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"])
def test_output_that_cannot_be_written_does_not_stop_a_run(streams: str, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    words = " ".join([*COMMAND, "run", own("paced"), *BRIEFLY, "--out", str(out), streams])
    done = subprocess.run(
        words, shell=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=environment()
    )
    expected = 4 if streams.startswith(">/dev/full") else 0
    assert (done.returncode, "Traceback" in done.stderr) == (expected, False)
    assert is_complete(out)


def test_a_file_named_torch_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    words = ("nothing", "--out", tmp_path / "run.jsonl")
    done = run(*words, cwd=tmp_path, env=environment(PYTHONSAFEPATH="1"))
    assert done.returncode == 2, done.stderr
    assert "torchvision model 'nothing'" in done.stderr


@pytest.mark.long
def test_a_second_run_does_not_write_to_a_file_in_use(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    process = started(out, own("paced"))
    done = run("--resume", out)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert (done.returncode, "another torchlap process" in done.stderr) == (4, True)


@pytest.mark.long
def test_a_full_disk_ends_the_run_and_keeps_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    limit = 14_000  # bytes: the header takes about 5,000, and all that there is to measure over 100,000

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = (own("small"), "--devices", "cpu", "--batch", "1,2,3,4,5,6,7,8", "--precision-target", "0.1%")
    done = run(*words, "--out", out, preexec_fn=small_disk)
    assert done.returncode == 4, done.stderr
    assert "free some space, then continue with torchlap run --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert "models.py:small" in done.stdout
    kept = load(out)
    assert kept.remarks == ()
    assert sum(isinstance(event, Round) for event in kept.events) > 5


@pytest.mark.long
def test_a_cpu_with_one_thread_is_reported(tmp_path: Path) -> None:
    few = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = run(own("paced"), *BRIEFLY, "--out", tmp_path / "run.jsonl", env=few)
    assert done.returncode == 0, done.stderr
    assert ("TL213" in done.stdout) is ("1 core " not in done.stdout)
