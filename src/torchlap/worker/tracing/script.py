"""Run a script under the tracer, as Python itself would: `python -m torchlap.worker.tracing.script TRACE SCRIPT ARGS`.

The script's arguments, streams, exit code and traceback are its own. The trace is written when it ends, however it
does, and while it runs, so that a crash loses little.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType

import msgspec

from torchlap.schema.trace import Ending
from torchlap.worker.tracing import clocks, data, learning, steps
from torchlap.worker.tracing.log import Log, now
from torchlap.worker.tracing.summary import Summary

WRITE_SECONDS = 2.0
SELDOM = 50
"""Times what writing takes: a long script's trace takes longer."""

LONGEST_ERROR = 2000


class Tracer:
    """The watching of one script, and its trace file."""

    def __init__(self, script: Path, path: Path) -> None:
        self.path = path
        self.log = Log(script)
        self.learning = learning.Learning(self.log)
        learning.install(self.log, self.learning)
        steps.install(self.log, self.learning)
        self.data = data.install(self.log)
        self.clocks = clocks.install(self.log)
        self._end = os._exit
        os._exit = self._exit  # type: ignore[assignment]  # a script that ends so has a trace, too
        os.register_at_fork(after_in_child=self._forget)
        self._process = os.getpid()
        self._writing = threading.Lock()

    def _forget(self) -> None:
        """A child process is not watched."""
        self.log.active = False

    def _exit(self, status: int) -> None:
        if os.getpid() == self._process:
            self.write("exited", status)
        self._end(status)

    def write(self, ending: Ending, exit_code: int = 0, error: str = "", *, at_end: bool = False) -> None:
        """Write what was seen so far; one at a time."""
        self.log.active = False
        with self._writing:
            if at_end:
                self.log.wait()
            self._write(ending, exit_code, error[:LONGEST_ERROR], at_end=at_end)

    def _write(self, ending: Ending, exit_code: int, error: str, *, at_end: bool) -> None:
        """Replace the file in one step: whoever kills the process leaves a whole one."""
        seen = Summary(self.log, self.clocks, self.learning, self.data)
        part = self.path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(seen.trace(ending, exit_code, error, at_end=at_end)))
        part.replace(self.path)

    def write_now_and_then(self) -> None:
        """In the background, so that little is lost if the process is killed."""
        took = 0.0
        while True:
            threading.Event().wait(max(WRITE_SECONDS, SELDOM * took))
            if not self.log.active or os.getpid() != self._process:
                return
            start = now()
            with suppress(Exception), self._writing:  # the script's lists may change meanwhile: the next time is soon
                if self.log.active:
                    self._write("under way", 0, "", at_end=False)
            took = now() - start


def main() -> None:
    """Run the script named on the command line."""
    path, script = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    sys.argv = sys.argv[2:]
    sys.path[0] = str(script.parent)
    module = ModuleType("__main__")
    module.__file__ = sys.argv[0]
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]  # as Python's own __main__ has it
    tracer = Tracer(script, path)
    threading.Thread(target=tracer.write_now_and_then, daemon=True).start()
    sys.modules["__main__"] = module
    ending: Ending = "finished"
    status, error = 0, ""
    try:
        exec(compile(script.read_bytes(), sys.argv[0], "exec"), module.__dict__)  # noqa: S102  to run it is what is asked for
    except SystemExit as end:
        status = _status(end.code)
        ending = "exited" if status else "finished"
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201  as Python does
    except KeyboardInterrupt:
        ending, status = "interrupted", 130
    except BaseException as raised:  # noqa: BLE001  it is the script's, and shown as Python would
        ending, status, error = "raised", 1, f"{type(raised).__name__}: {raised}"
        _show(raised)
    try:
        tracer.write(ending, status, error, at_end=True)
    except RuntimeError as failure:  # a device that has failed answers no more: what the host knows is told
        tracer.write(ending, status, error or f"the device no longer answers: {failure}")
    except KeyboardInterrupt:
        tracer.write(ending, status, error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def _status(code: object) -> int:
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _show(raised: BaseException) -> None:
    """The traceback without the tracer's own frame."""
    own: TracebackType | None = raised.__traceback__
    rest = own.tb_next if own else None
    sys.excepthook(type(raised), raised.with_traceback(rest), rest)


if __name__ == "__main__":
    main()
