"""`python -m torchlap` is `torchlap`."""

import sys


def main() -> None:
    """Run the command line; an interrupt is reported in one sentence, even while modules are still being imported."""
    try:
        from torchlap.cli.app import main as run  # noqa: PLC0415  within the reach of the handler

        run()
    except KeyboardInterrupt:
        print("Interrupted: nothing was measured.", file=sys.stderr)  # noqa: T201  it stands for the command line
        sys.exit(130)


if __name__ == "__main__":
    main()
