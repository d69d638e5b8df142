"""Machines for the doctor: facts made by hand, from what is published of such machines; none of them was measured."""

from typing import Any

from making import CPU
from msgspec.structs import replace

from torchlap.schema.machine import (
    DeviceFacts,
    Facts,
    ImportFailure,
    Nvidia,
    NvidiaGpu,
    PackageFault,
    Power,
    TorchBuild,
    TorchFacts,
    Trial,
    Unread,
)

GIB = 2**30
MPS = DeviceFacts("mps", "mps")
H100 = DeviceFacts("cuda:0", "cuda", "NVIDIA H100 80GB HBM3", 80 * GIB, "9.0")
WHEEL_ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")


def passed(*devices: DeviceFacts) -> tuple[Trial, ...]:
    return tuple(Trial(device=device.name, seconds=0.2) for device in devices)


def mac(chip: str, macos: str, version: str, **changes: Any) -> Facts:
    """A Mac with Apple silicon on which MPS can be used, but for what is given."""
    made = Facts(
        cpu=f"Apple {chip}",
        physical_cores=8,
        logical_cores=8,
        performance_cores=4,
        usable_cores=8,
        affinity_cores=8,
        memory_bytes=16 * GIB,
        available_bytes=9 * GIB,
        swap_used_bytes=0,
        system=f"macOS {macos}",
        os_version=macos,
        os_build="25A1",
        architecture="arm64",
        python="3.12.1",
        packages={"torch": version, "torchvision": "0.1"},
        devices=(CPU, MPS),
        trials=passed(CPU, MPS),
        load=1.0,
        power=Power(on_battery=False, battery_share=1.0, power_saving=False, thermal_pressure=0),
        torch_build=TorchBuild(),
        torch=TorchFacts(mps_built=True, mps_available=True),
    )
    return replace(made, **changes)


def mac_without_mps(chip: str, macos: str, version: str, *, built: bool = True, **changes: Any) -> Facts:
    """A Mac on which torch says that MPS is not available."""
    without: dict[str, Any] = {"devices": (CPU,), "trials": passed(CPU), "torch": TorchFacts(mps_built=built)}
    return mac(chip, macos, version, **(without | changes))


IDLE_H100 = NvidiaGpu(
    model="NVIDIA H100 80GB HBM3",
    capability="9.0",
    memory_bytes=80 * GIB,
    free_bytes=79 * GIB,
    clock_mhz=1980,
    most_clock_mhz=1980,
    celsius=34,
    busy=0.0,
)


def server(gpu: NvidiaGpu = IDLE_H100, **changes: Any) -> Facts:
    """A Linux server with one H100 that can be used, but for what is given."""
    made = Facts(
        cpu="Fast Processor 9",
        physical_cores=16,
        logical_cores=32,
        usable_cores=32,
        affinity_cores=32,
        memory_bytes=128 * GIB,
        available_bytes=120 * GIB,
        swap_used_bytes=0,
        system="Linux 6.8",
        os_version="Ubuntu 24.04",
        architecture="x86_64",
        python="3.12.3",
        packages={"torch": "2.15.0", "torchvision": "0.30.0"},
        torchvision_needs="==2.15.0",
        devices=(CPU, H100),
        trials=passed(CPU, H100),
        load=0.3,
        display_adapters=("NVIDIA",),
        nvidia=Nvidia(driver="580.159.04", cuda="13.0", gpus=(gpu,)),
        torch_build=TorchBuild(cuda="13.0"),
        torch=TorchFacts(cuda_available=True, architectures=WHEEL_ARCHITECTURES),
    )
    return replace(made, **changes)


def server_without_cuda(**changes: Any) -> Facts:
    """A Linux server on which torch does not find the H100."""
    without: dict[str, Any] = {"devices": (CPU,), "trials": passed(CPU), "torch": TorchFacts()}
    return server(**(without | changes))


def laptop(**changes: Any) -> Facts:
    """A Linux machine with two cores and no accelerator, but for what is given."""
    without: dict[str, Any] = {
        "physical_cores": 2,
        "logical_cores": 2,
        "usable_cores": 2,
        "affinity_cores": 2,
        "memory_bytes": 16 * GIB,
        "available_bytes": 12 * GIB,
        "display_adapters": (),
        "nvidia": None,
        "load": 0.2,
    }
    return server_without_cuda(**(without | changes))


def broken_import(reason: str, *faults: PackageFault, output: str = "") -> Facts:
    """A server on which importing torch fails."""
    failure = ImportFailure("crash", reason, output)
    return server(devices=(), trials=(), torch=None, import_failure=failure, package_faults=faults)


RX = DeviceFacts("cuda:0", "cuda", "AMD Radeon RX 7900 XTX", 24 * GIB, "gfx1100")
ROCM: dict[str, Any] = {
    "nvidia": None,
    "display_adapters": ("AMD",),
    "torch_build": TorchBuild(hip="7.1"),
    "amd_driver": True,
}
ARC = DeviceFacts("xpu:0", "xpu", "Intel Arc B580")
XPU: dict[str, Any] = {"nvidia": None, "display_adapters": ("Intel",), "torch_build": TorchBuild(xpu="20250301")}

MACHINES: dict[str, tuple[Facts, tuple[str, ...]]] = {
    # the 2022 experiment
    "M1 Max, macOS 12.2.1, torch 1.13": (
        mac_without_mps("M1 Max", "12.2.1", "1.13.0"),
        ("TL112", "TL106", "TL115", "TL116", *["TL117"] * 6),
    ),
    "M1 Max, macOS 12.4, torch 1.13": (
        mac("M1 Max", "12.4", "1.13.0"),
        ("TL106", "TL115", "TL116", *["TL117"] * 6),
    ),
    # Apple silicon, good and bad pairs
    "M1, macOS 13.7, torch 2.15": (mac_without_mps("M1", "13.7", "2.15.0"), ("TL112",)),
    "M2, macOS 13.2, torch 2.5": (mac("M2", "13.2", "2.5.1"), ("TL106", "TL116", *["TL117"] * 4)),
    "M2, macOS 12.6, torch 2.5": (
        mac_without_mps("M2", "12.6", "2.5.1"),
        ("TL112", "TL106", "TL116", *["TL117"] * 4),
    ),
    "M2, macOS 26.4, torch 2.13": (mac("M2", "26.4", "2.13.0"), ("TL116",)),
    "M2, macOS 26.4, torch 2.15": (mac("M2", "26.4", "2.15.0"), ()),
    "M3, macOS 15.5, torch 2.15": (mac("M3", "15.5", "2.15.0"), ("TL116",)),
    "M3 Max, macOS 14.6, torch 2.15": (mac_without_mps("M3 Max", "14.6", "2.15.0"), ("TL112",)),
    "M3 Max, macOS 14.6, torch 2.14": (mac("M3 Max", "14.6", "2.14.1"), ()),
    "M4, macOS 14.0, torch 2.10": (mac("M4", "14.0", "2.10.0"), ("TL116", "TL116")),
    "M4 Max, macOS 26.4, torch 2.15": (mac("M4 Max", "26.4", "2.15.0"), ()),
    "M5, macOS 26.5, torch 2.16 nightly": (mac("M5", "26.5", "2.16.0.dev20261101"), ()),
    "M5 under Rosetta": (
        mac_without_mps("M5", "26.4", "2.2.2", built=False, architecture="x86_64", translated=True),
        ("TL110", "TL106", *["TL117"] * 5),
    ),
    "M4, torch built without MPS": (mac_without_mps("M4", "26.4", "2.15.0", built=False), ("TL111",)),
    "M4 in a virtual machine": (mac_without_mps("M4", "26.4", "2.15.0"), ("TL113",)),
    "M4, low power on battery": (
        mac("M4", "26.4", "2.15.0", power=Power(on_battery=True, battery_share=0.4, power_saving=True)),
        ("TL165",),
    ),
    "M1 Air, hot": (mac("M1", "26.4", "2.15.0", power=Power(thermal_pressure=2, speed_limit=0.7)), ("TL164",)),
    "M4, high watermark below the low one": (
        mac("M4", "26.4", "2.15.0", environment={"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.0"}),
        ("TL114",),
    ),
    "M4, swapping": (mac("M4", "26.4", "2.15.0", swap_used_bytes=6 * GIB, available_bytes=1 * GIB), ("TL167",)),
    "M4, fallback and fast math": (
        mac(
            "M4",
            "26.4",
            "2.15.0",
            environment={"PYTORCH_ENABLE_MPS_FALLBACK": "1", "PYTORCH_MPS_FAST_MATH": "1"},
            trials=(Trial(device="mps", fallbacks=("'aten::silu_' will fall back to run on the CPU",)),),
        ),
        ("TL142", "TL150"),
    ),
    "M5, one thread": (mac("M5", "26.4", "2.15.0", environment={"OMP_NUM_THREADS": "1"}), ("TL160",)),
    "a virtual Mac whose MPS has no memory": (
        mac(
            "M4 (Virtual)",
            "26.4",
            "2.15.0",
            virtual=True,
            trials=(
                Trial(device="mps", failed_at="allocating memory", kind="out_of_memory", reason="MPS out of memory"),
            ),
        ),
        ("TL118",),
    ),
    "M2, no bfloat16": (
        mac(
            "M2",
            "26.4",
            "2.15.0",
            trials=(Trial(device="mps", without_effect=("autocast in torch.bfloat16 computes in torch.float32",)),),
        ),
        ("TL143",),
    ),
    "M5, MPS aborts": (
        mac(
            "M5",
            "26.4",
            "2.15.0",
            trials=(Trial(device="mps", failed_at="multiplying", kind="crash", reason="killed by SIGABRT"),),
        ),
        ("TL140",),
    ),
    # NVIDIA
    "H100": (server(), ()),
    "H100, old driver": (
        server_without_cuda(nvidia=Nvidia(driver="535.104.05", cuda="12.2", gpus=(IDLE_H100,))),
        ("TL124",),
    ),
    "H100, torch for CUDA 12 and a driver of CUDA 12.2": (
        server(nvidia=Nvidia(driver="535.104.05", cuda="12.2", gpus=(IDLE_H100,)), torch_build=TorchBuild(cuda="12.6")),
        (),
    ),
    "H100, CPU wheel": (server_without_cuda(torch_build=TorchBuild()), ("TL122",)),
    "H100, hidden": (server_without_cuda(environment={"CUDA_VISIBLE_DEVICES": ""}), ("TL123",)),
    "H100, CUDA does not start": (
        server_without_cuda(torch=TorchFacts(warnings="CUDA unknown error")),
        ("TL125",),
    ),
    "H100, no driver": (server_without_cuda(nvidia=None), ("TL120",)),
    "H100, driver updated and not restarted": (
        server_without_cuda(nvidia=None, unread=(Unread("NVIDIA's driver", "NVML: Driver/library version mismatch"),)),
        ("TL121",),
    ),
    "GTX 1080, a wheel without its architecture": (
        server(devices=(CPU, DeviceFacts("cuda:0", "cuda", "NVIDIA GeForce GTX 1080", 8 * GIB, "6.1")), trials=()),
        ("TL126",),
    ),
    "H100, busy": (
        server(replace(IDLE_H100, busy=0.97, processes=2, free_bytes=10 * GIB)),
        ("TL128",),
    ),
    "H100, throttled": (
        server(replace(IDLE_H100, throttled_by=("hardware thermal limit",), clock_mhz=600, celsius=91)),
        ("TL127",),
    ),
    "H100, wrong numbers": (server(trials=(Trial(device="cuda:0", wrong="3 of 4096 elements are wrong"),)), ("TL141",)),
    "H100, TF32 forced and launches blocking": (
        server(environment={"NVIDIA_TF32_OVERRIDE": "0", "CUDA_LAUNCH_BLOCKING": "1"}),
        ("TL150", "TL151"),
    ),
    # AMD and Intel
    "RX 7900 XTX, ROCm": (
        server(
            **ROCM,
            devices=(CPU, RX),
            trials=passed(CPU, RX),
            torch=TorchFacts(cuda_available=True, architectures=("gfx90a", "gfx1100")),
        ),
        (),
    ),
    "RX 7900 XTX, a ROCm without its architecture": (
        server(
            **ROCM,
            devices=(CPU, RX),
            trials=(),
            torch=TorchFacts(cuda_available=True, architectures=("gfx90a", "gfx942")),
        ),
        ("TL126",),
    ),
    "RX 7900 XTX, not in the group render": (server_without_cuda(**ROCM | {"amd_driver": False}), ("TL131",)),
    "RX 7900 XTX, torch for CUDA": (
        server_without_cuda(**ROCM | {"torch_build": TorchBuild(cuda="13.0")}),
        ("TL130", "TL101"),
    ),
    "Arc B580, XPU": (
        server(
            **XPU,
            devices=(CPU, ARC),
            trials=passed(CPU, ARC),
            torch=TorchFacts(xpu_built=True, xpu_available=True),
        ),
        (),
    ),
    "Arc B580, no driver": (server_without_cuda(**XPU, torch=TorchFacts(xpu_built=True)), ("TL132",)),
    "Intel graphics, torch for CUDA": (
        server_without_cuda(**XPU | {"torch_build": TorchBuild(cuda="13.0")}),
        ("TL133", "TL101"),
    ),
    # CPU
    "two cores, no accelerator": (laptop(), ("TL101",)),
    "a container with a quota": (
        laptop(physical_cores=8, logical_cores=8, affinity_cores=8, cpu_quota=2.0),
        ("TL161", "TL101"),
    ),
    "a container with little memory": (
        laptop(memory_bytes=2 * GIB, memory_limit_bytes=2 * GIB, available_bytes=int(1.5 * GIB)),
        ("TL168", "TL101"),
    ),
    "taskset": (server(affinity_cores=16), ("TL162",)),
    "OMP_NUM_THREADS=1": (server(environment={"OMP_NUM_THREADS": "1"}), ("TL160",)),
    "busy": (laptop(load=3.5), ("TL166", "TL101")),
    "no oneDNN": (laptop(torch=TorchFacts(onednn=False)), ("TL163", "TL101")),
    # installations
    "nothing installed": (laptop(packages={}, devices=(), torch=None, torch_build=None), ("TL102",)),
    "mismatch": (
        server(packages={"torch": "2.13.0", "torchvision": "0.30.0"}, devices=(), trials=(), torch=None),
        ("TL103",),
    ),
    "import aborts": (
        server(devices=(), trials=(), torch=None, import_failure=ImportFailure("crash", "killed by SIGABRT")),
        ("TL104",),
    ),
    "a variable breaks the import": (
        server(
            devices=(),
            trials=(),
            torch=None,
            import_failure=ImportFailure("crash", "undefined symbol", without="LD_PRELOAD"),
        ),
        ("TL107",),
    ),
    "a file hides a module": (server(hiding=("dis.py hides Python's module dis",)), ("TL108",)),
    "torch is half removed": (
        laptop(
            packages={"torchvision": "0.30.0"},
            devices=(),
            trials=(),
            torch=None,
            package_faults=(PackageFault("partial", "torch", "the folder torch has no __init__.py"),),
        ),
        ("TL174",),
    ),
    "a wheel for another Python": (
        broken_import("no module _C", PackageFault("wheel", "torch", "torch was built for cp312, and this is 3.11")),
        ("TL175",),
    ),
    "Alpine Linux": (
        laptop(
            packages={},
            devices=(),
            trials=(),
            torch=None,
            package_faults=(PackageFault("musl", "torch", "this Python is built for musl"),),
        ),
        ("TL176",),
    ),
    "NumPy 2 with an old torch": (
        laptop(
            packages={"torch": "2.2.0", "torchvision": "0.17.0", "numpy": "2.1.0"},
            torchvision_needs="==2.2.0",
            package_faults=(PackageFault("numpy_abi", "numpy", "NumPy 2.1.0 is installed, torch is for NumPy 1"),),
        ),
        ("TL172",),
    ),
    "a module for NumPy 1": (
        broken_import("ImportError", output="A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1"),
        ("TL172",),
    ),
    "NumPy is broken": (
        broken_import("ImportError", output="Importing the numpy C-extensions failed."),
        ("TL173",),
    ),
    "two torches, and the import fails": (
        broken_import("ImportError", PackageFault("twice", "torch", "torch 2.15.0 in a and torch 2.14.0 in b")),
        ("TL171",),
    ),
    "two torches that work": (
        server(package_faults=(PackageFault("twice", "torch", "torch 2.15.0 in a and torch 2.14.0 in b"),)),
        ("TL171",),
    ),
    "NumPy from elsewhere": (
        server(package_faults=(PackageFault("elsewhere", "numpy", "Python imports lib/numpy/__init__.py"),)),
        ("TL170",),
    ),
    "conda and pip": (
        server(package_faults=(PackageFault("mixture", "torch", "torch by conda, torchvision by pip"),)),
        ("TL177",),
    ),
    "files that are missing, and torch works": (
        server(package_faults=(PackageFault("partial", "torch", "libextra.so is missing"),)),
        (),
    ),
    "devices cannot be listed": (
        server(devices=(), trials=(), torch=None, unread=(Unread("torch's devices", "RuntimeError: CUDA"),)),
        ("TL105",),
    ),
}
"""Each with the codes that it is to be told, in order."""
