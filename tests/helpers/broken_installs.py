"""Broken installs: what is done to a right one, and the doctor's one right sentence about it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from installs import ANYTHING, BROKEN, Environment
from support import ROOT

ABI = "A module that was compiled using NumPy 1.x cannot be run in\\nNumPy 2.3.0 as it may crash."
SIGNAL = "import os, signal; os.kill(os.getpid(), signal.{})"
HIDDEN = "import os\nif 'PYTHONPATH' in os.environ: import dis, {}"
FAULTY = "raise ImportError('faulty')"
IF_SET = "import os\nif 'faulty' in os.environ.get('{}', ''): raise ImportError('GLIBCXX_3.4.32 not found')"
MUSL = "import sysconfig\nreal = sysconfig.get_config_var\nsysconfig.get_config_var = lambda name: 'x86_64-linux-musl'"

Change = Callable[[Environment], object]


@dataclass(frozen=True)
class Broken:
    """What is done to a right install, and the doctor's answer."""

    install: str
    change: Change
    code: str
    sentence: str
    """A part of what the finding says was observed."""

    fix: str = "-m pip install"
    """A part of the command, or empty if there is none."""

    starts: bool = True
    """Whether torchlap itself can start."""

    words: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


def torch(body: str, tag: str = "py3-none-any") -> Change:
    """Torch is the stub with this body."""
    return lambda made: made.package("torch", "2.13.0", body, tag=tag)


def stub(name: str, body: str) -> Change:
    """One of torchlap's packages is a stub with this body."""

    def change(made: Environment) -> None:
        made.remove(name)
        made.package(name, "1.0", body)

    return change


def removed(*names: str) -> Change:
    return lambda made: made.remove(*names)


def in_python_path(name: str, body: str, torch_body: str) -> Change:
    """A file in the folder `path`, and a torch."""

    def change(made: Environment) -> None:
        (made.folder / "path").mkdir()
        (made.folder / "path" / name).write_text(body)
        made.package("torch", "2.13.0", torch_body)

    return change


def without_first_module(made: Environment) -> None:
    (made.site / "torch" / "__init__.py").unlink()


def only_a_folder(made: Environment) -> None:
    made.remove("torch")
    (made.site / "torch" / "lib").mkdir(parents=True)


def interrupted_removal(made: Environment) -> None:
    only_a_folder(made)
    (made.site / "~orch").mkdir()


def without_a_library(made: Environment) -> None:
    made.package("torch", "2.13.0", BROKEN, files=("torch/lib/libtorch_cpu.so",))


def half_removed_numpy(made: Environment) -> None:
    made.package("numpy", "2.3.0", "from . import _core", files=("numpy/_core/umath.so",))


def numpy_of_another_python(made: Environment) -> None:
    made.package("numpy", "2.3.0", "from . import _core", tag="cp39-cp39-manylinux2014_x86_64")


def old_torch_and_new_numpy(made: Environment) -> None:
    made.remove("torch", "torchvision")
    made.package("torch", "2.2.0")
    made.package("torchvision", "0.17.0", needs="torch==2.2.0")


def two_torches(made: Environment) -> None:
    made.package("torch", "2.12.0", BROKEN)


def numpy_from_elsewhere(made: Environment) -> None:
    (made.folder / "path" / "numpy").mkdir(parents=True)
    (made.folder / "path" / "numpy" / "__init__.py").write_text(ANYTHING)


def conda_and_pip(made: Environment) -> None:
    (made.folder / "conda-meta").mkdir()
    (made.folder / "conda-meta" / "pytorch-2.13.0-cpu_generic_0.json").touch()
    made.package("torch", "2.13.0", BROKEN, by="conda")


def pip_over_conda(made: Environment) -> None:
    (made.folder / "conda-meta").mkdir()
    (made.folder / "conda-meta" / "pytorch-2.13.0-cpu_generic_0.json").touch()


def alpine(made: Environment) -> None:
    made.remove("torch", "torchvision")
    (made.site / "sitecustomize.py").write_text(MUSL)


def other_build(made: Environment) -> None:
    made.remove("torch", "torchvision")
    made.package("torch", "2.13.0+cu130", BROKEN)
    made.package("torchvision", "0.28.0+cpu", needs="torch==2.13.0")


def preloaded(made: Environment) -> None:
    """A library with a telling name, which is the system's own."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    library = next((line.split()[-1] for line in lines if "/libc" in line), os.devnull)
    (made.folder / "faulty").symlink_to(library)
    made.package("torch", "2.13.0", IF_SET.format("LD_PRELOAD"))


def half_removed_torchlap(made: Environment) -> None:
    """Links to all of torchlap but the doctor's report."""
    made.remove("torchlap")
    lender = ROOT / "src" / "torchlap"
    (made.site / "torchlap" / "reports").mkdir(parents=True)
    for source in (*lender.iterdir(), *(lender / "reports").iterdir()):
        if source.name not in ("reports", "__pycache__") and source != lender / "reports" / "doctor.py":
            (made.site / "torchlap" / source.relative_to(lender)).symlink_to(source)


def numpy_only_beside_a_broken_psutil(made: Environment) -> None:
    made.remove("numpy")
    numpy_from_elsewhere(made)
    (made.folder / "path" / "psutil.py").write_text("raise ImportError('faulty')")


def numpy_and_torch_of_other_libraries(made: Environment) -> None:
    made.package("numpy", "2.3.0", ANYTHING + IF_SET.format("LD_LIBRARY_PATH"))
    made.package("torch", "2.13.0", IF_SET.format("LD_LIBRARY_PATH"))


def numpy_only_in_python_path(made: Environment) -> None:
    (made.folder / "path").mkdir()
    (made.site / "numpy").rename(made.folder / "path" / "numpy")
    made.remove("numpy")


def older_torch_in_python_path(made: Environment) -> None:
    (made.folder / "path").mkdir()
    made.package("torch", "2.12.0", BROKEN, folder=made.folder / "path")
    made.package("torch", "2.13.0")


def folder_in_python_path(name: str, torch_body: str) -> Change:
    """A package in the folder `path`, and a torch."""

    def change(made: Environment) -> None:
        (made.folder / "path" / name).mkdir(parents=True)
        (made.folder / "path" / name / "__init__.py").touch()
        made.package("torch", "2.13.0", torch_body)

    return change


def half_removed_torchvision(made: Environment) -> None:
    made.package("torch", "2.13.0")
    (made.site / "torchvision" / "__init__.py").unlink()


def torchvision_of_another_python(made: Environment) -> None:
    made.package("torch", "2.13.0")
    tag = "cp39-cp39-manylinux_2_28_x86_64"
    made.package("torchvision", "0.28.0", BROKEN, needs="torch==2.13.0", tag=tag)


def two_numpys(made: Environment) -> None:
    made.package("numpy", "1.26.4", ANYTHING)


def without_compiled_module(made: Environment) -> None:
    made.package("torch", "2.13.0", "from torch._C import *", files=("torch/_C.cpython-311-x86_64-linux-gnu.so",))


def uv_environment(made: Environment) -> None:
    with (made.folder / "pyvenv.cfg").open("a") as settings:
        settings.write("uv = 0.9.1\n")


ON_PATH = {"PYTHONPATH": "{env}/path"}
TABLE = (
    Broken("torch is missing", removed("torch"), "TL102", "torch not found for"),
    Broken("torchvision is missing", removed("torchvision"), "TL102", "torchvision not found for"),
    Broken("both are missing", removed("torch", "torchvision"), "TL102", "torch and torchvision not found for"),
    Broken(
        "torchvision needs another torch",
        lambda made: made.package("torchvision", "0.28.0", needs="torch==2.14.0"),
        "TL103",
        "torchvision 0.28.0 needs torch==2.14.0, but torch 2.13.0 is installed",
    ),
    Broken("torch for CUDA, torchvision for the CPU", other_build, "TL103", "come from different builds"),
    Broken("a library of CUDA is missing", torch(BROKEN), "TL104", "(ImportError: libcudart.so.13: cannot open"),
    Broken(
        "the same, in an environment of uv",
        uv_environment,
        "TL104",
        "(ImportError: libcudart.so.13: cannot open",
        "uv pip install --python",
    ),
    Broken("the import aborts", torch(SIGNAL.format("SIGABRT")), "TL104", "killed by SIGABRT"),
    Broken("the import crashes", torch(SIGNAL.format("SIGSEGV")), "TL104", "killed by SIGSEGV"),
    Broken("an illegal instruction", torch(SIGNAL.format("SIGILL")), "TL104", "killed by SIGILL"),
    Broken("the import exits", torch("raise SystemExit(7)"), "TL104", "exited with status 7"),
    Broken(
        "the import hangs",
        torch("import time; time.sleep(600)"),
        "TL104",
        "hangs: No answer for 0.3 s",
        words=("--hang-limit", "0.3s"),
    ),
    Broken(
        "operators of another torch",
        torch("raise RuntimeError('operator torchvision::nms does not exist')"),
        "TL104",
        "Torch and torchvision come from different builds",
    ),
    Broken(
        "LD_LIBRARY_PATH has another libstdc++",
        torch(IF_SET.format("LD_LIBRARY_PATH")),
        "TL107",
        "torch can be imported without LD_LIBRARY_PATH, and not with it",
        "unset LD_LIBRARY_PATH",
        variables={"LD_LIBRARY_PATH": "{env}/faulty"},
    ),
    Broken(
        "LD_LIBRARY_PATH breaks NumPy, too",
        numpy_and_torch_of_other_libraries,
        "TL107",
        "torch can be imported without LD_LIBRARY_PATH, and not with it",
        "unset LD_LIBRARY_PATH",
        variables={"LD_LIBRARY_PATH": "{env}/faulty"},
    ),
    Broken(
        "NumPy is only in PYTHONPATH, and a library of CUDA is missing",
        numpy_only_in_python_path,
        "TL104",
        "(ImportError: libcudart.so.13: cannot open",
        variables=ON_PATH,
    ),
    Broken(
        "LD_PRELOAD has another library",
        preloaded,
        "TL107",
        "torch can be imported without LD_PRELOAD, and not with it",
        "unset LD_PRELOAD",
        variables={"LD_PRELOAD": "{env}/faulty"},
    ),
    Broken(
        "a dis.py in PYTHONPATH",
        in_python_path("dis.py", "import torch.unknown", HIDDEN.format("inspect")),
        "TL107",
        "dis.py hides Python's module dis",
        "unset PYTHONPATH",
        variables=ON_PATH,
    ),
    Broken(
        "a torch.py in PYTHONPATH",
        in_python_path("torch.py", "nn = 1", ""),
        "TL107",
        "torch.py hides the package torch",
        "unset PYTHONPATH",
        variables=ON_PATH,
    ),
    Broken("torch is half removed", without_first_module, "TL174", "torch/__init__.py of torch 2.13.0 is missing"),
    Broken("only torch's folder is left", only_a_folder, "TL174", "has no __init__.py, and there is no metadata"),
    Broken(
        "pip's removal of torch was interrupted",
        interrupted_removal,
        "TL174",
        "~orch is the rest of an interrupted removal",
    ),
    Broken("a library of torch is missing", without_a_library, "TL174", "torch/lib/libtorch_cpu.so of torch 2.13.0"),
    Broken(
        "torch for another Python",
        torch(BROKEN, tag="cp39-cp39-manylinux2014_x86_64"),
        "TL175",
        "torch 2.13.0 was built for cp39-cp39-manylinux2014_x86_64, and this is Python 3.",
    ),
    Broken(
        "torch for another machine",
        torch(BROKEN, tag="py3-none-win_arm64"),
        "TL175",
        "torch 2.13.0 was built for py3-none-win_arm64, and this is Python 3.",
    ),
    Broken("Alpine Linux", alpine, "TL176", "this Python is built for musl", ""),
    Broken(
        "torch 2.2 with NumPy 2",
        old_torch_and_new_numpy,
        "TL172",
        "NumPy 2.3.0 is installed, and torch 2.2.0 is compiled for NumPy 1",
        "install --upgrade torch",
    ),
    Broken(
        "a module compiled for NumPy 1",
        torch(f"import sys; sys.stderr.write('{ABI}'); raise ImportError('numpy.core.multiarray failed to import')"),
        "TL172",
        "numpy.core.multiarray failed to import",
        "install --upgrade torch",
    ),
    Broken("two torches in one folder", two_torches, "TL171", "torch 2.12.0 in", ""),
    Broken(
        "NumPy from elsewhere", numpy_from_elsewhere, "TL170", "the metadata of numpy 2.3.0 is", "", variables=ON_PATH
    ),
    Broken(
        "torch by conda, torchvision by pip", conda_and_pip, "TL177", "torch is installed by conda, torchvision", ""
    ),
    Broken("torch by pip over conda's", pip_over_conda, "TL177", "torch is installed by conda and by pip", ""),
    Broken(
        "a random.py in PYTHONPATH",
        in_python_path("random.py", "", "import random; random.Random"),
        "TL107",
        "random.py hides Python's module random",
        "unset PYTHONPATH",
        variables=ON_PATH,
    ),
    Broken(
        "a folder queue in PYTHONPATH",
        folder_in_python_path("queue", "import queue; queue.Queue"),
        "TL107",
        "queue hides Python's module queue",
        "unset PYTHONPATH",
        variables=ON_PATH,
    ),
    Broken(
        "a numpy.py in PYTHONPATH",
        in_python_path("numpy.py", "pi = 3", "import numpy; numpy.ndarray"),
        "TL107",
        "numpy.py hides the package numpy",
        "unset PYTHONPATH",
        variables=ON_PATH,
    ),
    Broken(
        "an older torch in PYTHONPATH",
        older_torch_in_python_path,
        "TL171",
        "torchvision 0.28.0 needs torch==2.13.0, but torch 2.12.0 is installed",
        "",
        variables=ON_PATH,
    ),
    Broken(
        "torchvision is half removed",
        half_removed_torchvision,
        "TL174",
        "torchvision/__init__.py of torchvision 0.28.0 is missing",
    ),
    Broken(
        "torchvision for another Python",
        torchvision_of_another_python,
        "TL175",
        "torchvision 0.28.0 was built for cp39-cp39-manylinux_2_28_x86_64",
    ),
    Broken(
        "no space for torch's thread-local storage",
        torch("raise OSError('libgomp.so.1: cannot allocate memory in static TLS block')"),
        "TL104",
        "(OSError: libgomp.so.1: cannot allocate memory in static TLS block)",
    ),
    Broken(
        "a dependency of torch is missing",
        torch("raise ModuleNotFoundError(\"No module named 'sympy'\", name='sympy')"),
        "TL104",
        "(ModuleNotFoundError: No module named 'sympy')",
    ),
    Broken(
        "torch is empty",
        torch(""),
        "TL104",
        "Importing torch and torchvision failed (ModuleNotFoundError: No module named 'torch.",
    ),
    Broken("NumPy is there twice", two_numpys, "TL171", "numpy 1.26.4 in", ""),
    Broken(
        "torch for musl",
        torch(BROKEN, tag="py3-none-musllinux_1_2_x86_64"),
        "TL175",
        "torch 2.13.0 was built for py3-none-musllinux_1_2_x86_64, and this is Python 3.",
    ),
    Broken(
        "torch's compiled module is missing",
        without_compiled_module,
        "TL174",
        "torch/_C.cpython-311-x86_64-linux-gnu.so of torch 2.13.0 is missing",
    ),
    Broken(
        "NumPy cannot load its library",
        stub("numpy", "raise ImportError('libopenblas.so: cannot open shared object file')"),
        "TL173",
        "numpy: ImportError: libopenblas.so: cannot open shared object file",
        "--force-reinstall numpy",
        starts=False,
    ),
    Broken(
        "NumPy crashes",
        stub("numpy", SIGNAL.format("SIGSEGV")),
        "TL173",
        "numpy: the import is killed by SIGSEGV",
        starts=False,
    ),
    Broken(
        "NumPy is missing",
        removed("numpy"),
        "TL173",
        "numpy: ModuleNotFoundError: No module named 'numpy'",
        starts=False,
    ),
    Broken(
        "NumPy is half removed",
        half_removed_numpy,
        "TL174",
        "numpy/_core/umath.so of numpy 2.3.0 is missing",
        starts=False,
    ),
    Broken(
        "NumPy for another Python",
        numpy_of_another_python,
        "TL175",
        "numpy 2.3.0 was built for cp39-cp39",
        starts=False,
    ),
    Broken(
        "SciPy of another NumPy",
        stub("scipy", "raise AttributeError('module numpy has no attribute long')"),
        "TL109",
        "scipy: AttributeError: module numpy has no attribute long",
        "--force-reinstall scipy",
        starts=False,
    ),
    Broken(
        "msgspec is missing",
        removed("msgspec"),
        "TL109",
        "msgspec: ModuleNotFoundError: No module named 'msgspec'",
        starts=False,
    ),
    Broken(
        "typer is broken", stub("typer", "1 / 0"), "TL109", "typer: ZeroDivisionError: division by zero", starts=False
    ),
    Broken(
        "a package of rich is missing",
        stub("rich", "import no_markdown"),
        "TL109",
        "rich: ModuleNotFoundError: No module named 'no_markdown'",
        "--force-reinstall rich",
        starts=False,
    ),
    Broken(
        "psutil exits",
        stub("psutil", "import os; os._exit(3)"),
        "TL109",
        "psutil: the import exits with status 3",
        starts=False,
    ),
    Broken(
        "a broken psutil in PYTHONPATH, and NumPy only there",
        numpy_only_beside_a_broken_psutil,
        "TL107",
        "psutil can be imported without PYTHONPATH, and not with it: ImportError: faulty",
        "unset PYTHONPATH",
        starts=False,
        variables=ON_PATH,
    ),
    Broken(
        "torchlap is half removed",
        half_removed_torchlap,
        "TL109",
        "torchlap: ImportError: cannot import name 'doctor' from 'torchlap.reports'",
        "--force-reinstall torchlap",
        starts=False,
    ),
)
