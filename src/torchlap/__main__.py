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


def leave_python_path() -> list[str]:
    """Take the folders of PYTHONPATH, but for torchlap's own, out of the path, before anything is imported from there.

    Returns:
        The folders that were on the path.
    """
    import os  # noqa: PLC0415  Python itself has imported it already

    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  pathlib could be hidden
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = {os.path.abspath(folder) for folder in listed if folder} - {own}  # noqa: PTH100
    taken = [folder for folder in sys.path if os.path.abspath(folder) in folders]  # noqa: PTH100
    sys.path[:] = [folder for folder in sys.path if folder not in taken]
    return taken


def doctor() -> None:
    """Run `torchlap doctor`: in its first process to the end, in its second one as a command like the others."""
    taken = leave_python_path()
    from torchlap.cli import first_aid  # noqa: PLC0415  once the path is right

    second = first_aid.Second.connect(taken)
    if second is None:
        sys.exit(first_aid.doctor(sys.argv[2:]))
    try:
        from torchlap.cli.app import main as run  # noqa: PLC0415  within the reach of the handler

        run()
    except ImportError as error:
        second.failed(error)
        sys.exit(3)


def main() -> None:
    """Run the command line; an interrupt or a broken package is reported in one sentence, even during imports."""
    leave_working_folder()
    try:
        if sys.argv[1:2] == ["doctor"] and not {"-h", "--help"} & set(sys.argv):
            doctor()
        from torchlap.cli.app import main as run  # noqa: PLC0415  within the reach of the handler

        run()
    except KeyboardInterrupt:
        print("Interrupted: nothing was measured.", file=sys.stderr)  # noqa: T201  it stands for the command line
        sys.exit(130)
    except ImportError as error:
        text = f"torchlap: a package cannot be imported ({error}): torchlap doctor names it and how to repair it."
        print(" ".join(text.split()), file=sys.stderr)  # noqa: T201  likewise
        sys.exit(3)


if __name__ == "__main__":
    main()
