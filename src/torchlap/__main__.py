"""`python -m torchlap` is `torchlap`."""

import sys

WORKING_FOLDER_FIRST = not sys.flags.safe_path and not sys.flags.isolated


def leave_working_folder() -> None:
    """Take the working folder, which `python -m` puts first, out of the path: its dis.py would hide Python's."""
    if (
        __name__ == "__main__"
        and WORKING_FOLDER_FIRST
        and not __file__.startswith(sys.path[0].rstrip("/") + "/torchlap")
    ):
        del sys.path[0]


def main() -> None:
    """Run the command line; an interrupt or a broken package is reported in one sentence, even during imports."""
    leave_working_folder()
    try:
        from torchlap.cli.app import main as run  # noqa: PLC0415  within the reach of the handler

        run()
    except KeyboardInterrupt:
        print("Interrupted: nothing was measured.", file=sys.stderr)  # noqa: T201  it stands for the command line
        sys.exit(130)
    except ImportError as error:
        remedy = "unset LD_LIBRARY_PATH, LD_PRELOAD and PYTHONPATH; if that does not help, reinstall torchlap"
        print(f"torchlap: a package cannot be imported ({error}): {remedy}.", file=sys.stderr)  # noqa: T201  likewise
        sys.exit(3)


if __name__ == "__main__":
    main()
