"""`python -m torchlap` is `torchlap`."""

from torchlap.cli import main

if __name__ == "__main__":
    main()
