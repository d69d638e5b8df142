"""Everything that imports torch. Only `torchlap.isolate` starts it, as a process; nobody imports it."""
