"""Processes that have torch imported, and are forked for each script that a test audits."""

import subprocess
import sys
from pathlib import Path

import msgspec
from audited_scripts import SIMULATED
from support import HELPERS, environment

from torchlap.schema.trace import ScriptRun, Trace

COST_SECONDS = 0.001
SLOW = SIMULATED | {"SIMULATED_COST": str(COST_SECONDS)}
"""Slower than a busy host enqueues, so that work is pending."""

IN_CPU_TIME = "import cpu_clock, audited; audited.main()"
"""Its clocks show CPU time, so that no other load on the machine changes what a script measures."""

IN_REAL_TIME = "import audited; audited.main()"


class Template:
    """With the simulated accelerator, or without."""

    def __init__(self, folder: Path, code: str) -> None:
        self._trace = folder / "trace.json"
        self._command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HELPERS)!r}); {code}"]
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def audited(self, path: Path, device: str) -> ScriptRun:
        """Run a script, and read its trace."""
        if device not in self._processes:
            variables = environment(**SLOW) if device == "sim" else environment(PYTHONPATH="")
            self._processes[device] = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=variables,
                cwd=self._folder,
            )
        process = self._processes[device]
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{self._trace}\t{path}\t{device}\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        assert self._trace.exists(), f"{path.name} left no trace: exit code {code}"
        trace = msgspec.json.decode(self._trace.read_bytes(), type=Trace)
        self._trace.unlink()
        return ScriptRun(trace, code)

    def close(self) -> None:
        for process in self._processes.values():
            process.communicate()
