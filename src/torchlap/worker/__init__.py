"""Everything that imports torch. Only `torchlap.processes` starts it, as a process; nobody imports it."""
