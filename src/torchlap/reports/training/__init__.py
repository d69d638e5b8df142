"""The report of `torchlap train`, one file per format."""
