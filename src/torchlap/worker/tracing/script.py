"""Run a script under the tracer, as Python itself would: `entry/start.py LIFELINE TRACE SCRIPT ARGS`.

The script keeps its arguments, paths, streams, warnings, exit code and traceback. The trace is written when the script
ends, however it ends, and from time to time while it runs, so that a crash loses little. Nothing of the script's runs
after its end.
"""

import _thread
import os
import signal
import sys
import threading
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

import msgspec

from torchlap.schema.trace import Ending
from torchlap.worker.tracing import clocks, compiler, data, insert, learning, load, memory, steps, summary
from torchlap.worker.tracing.log import Log, now

WRITE_SECONDS = 2.0
WRITE_FACTOR = 50
"""The pause between two writes is at least this many times what a write takes: more for a long script."""

LONGEST_ERROR = 2000


class Tracer:
    """Watches one script, and writes its trace file."""

    def __init__(self, script: Path, path: Path) -> None:
        self.path = path
        self.log = Log(script)
        self.learning = learning.Learning(self.log)
        learning.install(self.learning)
        steps.install(self.log, self.learning)
        self.data = data.install(self.log)
        self.memory = memory.install(self.log)
        self.load = load.install(self.log)
        self.compiler = compiler.install(self.log)
        self.clocks = clocks.install(self.log)
        insert.hide_from_compiler(*_own_modules())
        self._end = os._exit
        os._exit = self._exit  # type: ignore[assignment]  # so that a script that ends this way has a trace, too
        os.register_at_fork(after_in_child=self._forget)
        self._process = os.getpid()
        self._writing = threading.Lock()

    def _forget(self) -> None:
        """Stop recording in a child process."""
        self.log.active = False

    def _exit(self, status: int) -> None:
        if os.getpid() == self._process:
            self.write("exited", status)
        self._end(status)

    def write(self, ending: Ending, exit_code: int = 0, error: str = "", *, at_end: bool = False) -> None:
        """Stop recording, and write the trace; `at_end` waits for the devices first."""
        self.log.active = False
        with self._writing:
            if at_end:
                self.log.wait()
            self._write(ending, exit_code, error[:LONGEST_ERROR], at_end=at_end)

    def _write(self, ending: Ending, exit_code: int, error: str, *, at_end: bool) -> None:
        """Replace the file in one step, so that a killed process leaves a complete one."""
        recorders = self.learning, self.data, self.memory
        made = summary.Summary(self.log, *recorders, compiler=self.compiler, load=self.load)
        trace = made.trace(ending, exit_code, error, children=load.children_seconds(), at_end=at_end)
        part = self.path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(trace))
        part.replace(self.path)

    def write_periodically(self) -> None:
        """Write the trace in the background, so that little is lost if the process is killed."""
        seconds = 0.0
        pause = _thread.allocate_lock()
        pause.acquire()
        while True:
            pause.acquire(timeout=max(WRITE_SECONDS, WRITE_FACTOR * seconds))
            if not self.log.active or os.getpid() != self._process:
                return
            start = now()
            with suppress(Exception), self._writing:  # the script may change a list meanwhile: the next attempt is soon
                if self.log.active:
                    self._write("under way", 0, "", at_end=False)
            seconds = now() - start


def _own_modules() -> list[ModuleType]:
    """The tracer's modules, apart from this one, which runs the script."""
    return [module for name, module in sys.modules.items() if name.startswith(f"{__package__}.") and name != __name__]


def main(startup: frozenset[str] | None = None) -> None:
    """Run the script named on the command line; `startup` names the modules that Python loads before any script."""
    path, script = Path(sys.argv[1]), Path(sys.argv[2])
    sys.orig_argv = [sys.executable, *sys.argv[2:]]
    sys.argv = sys.argv[2:]
    sys.path[0] = str(script.resolve().parent)
    tracer = Tracer(script.resolve(), path)
    if startup is not None:
        tracer.log.hidden = _hidden(script.resolve().parent, startup)
    _thread.start_new_thread(tracer.write_periodically, ())  # not one of `threading`, where the script would see it
    ending, status, error = _run(script)
    try:
        tracer.write(ending, status, error, at_end=True)
    except RuntimeError as failure:  # of a failed device: write what the host knows
        tracer.write(ending, status, error or f"the device no longer answers: {failure}")
    except KeyboardInterrupt:
        tracer.write(ending, status, error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def _hidden(folder: Path, startup: frozenset[str]) -> dict[str, str]:
    """Files beside the script that hide a module which the tracer has loaded before them, and the module, in words.

    The script's own imports get a file that hides a module of Python's, as they do without the tracer.
    """
    found = {}
    for name, module in tuple(sys.modules.items()):
        if name in startup or "." in name or name == "__main__":
            continue
        for file in (folder / f"{name}.py", folder / name / "__init__.py"):
            if file.is_file() and not _is_from(module, file):
                is_of_python = name in sys.stdlib_module_names
                found[str(file.relative_to(folder))] = (
                    f"Python's module {name}" if is_of_python else f"the package {name}"
                )
                if is_of_python:
                    del sys.modules[name]
                break
    return found


def _is_from(module: ModuleType, file: Path) -> bool:
    loaded = getattr(module, "__file__", None)
    return loaded is not None and Path(loaded).exists() and file.samefile(loaded)


def _run(script: Path) -> tuple[Ending, int, str]:
    """Run the script as `__main__`: how it ended, its exit code, and its error."""
    file = os.path.abspath(script)  # noqa: PTH100  as Python does, links are kept
    module = ModuleType("__main__")
    loader = SourceFileLoader("__main__", file)
    vars(module).update(
        __file__=file, __builtins__=sys.modules["builtins"], __cached__=None, __loader__=loader, __annotations__={}
    )
    sys.modules["__main__"] = module
    try:
        exec(compile(Path(file).read_bytes(), file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  the purpose
    except SystemExit as end:
        status = _status(end.code)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return "exited" if status else "finished", status, ""
    except KeyboardInterrupt:
        return "interrupted", 130, ""
    except BaseException as raised:  # noqa: BLE001  the script's error, which is shown as Python would
        _show(raised)
        return "raised", 1, f"{type(raised).__name__}: {raised}"
    return "finished", 0, ""


def _status(code: object) -> int:
    """The exit code for the argument of SystemExit."""
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _show(raised: BaseException) -> None:
    """Print the traceback without the tracer's own frames."""
    own: TracebackType | None = raised.__traceback__
    rest = own.tb_next if own else None
    sys.excepthook(type(raised), raised.with_traceback(rest), rest)
