"""What a figure depends on: the machine, its devices, and the installed torch."""

from typing import Annotated

from msgspec import Meta, Struct

from torchlap.schema.base import Count, FailureKind, Name, Seconds, Share, Text


class DeviceFacts(Struct, frozen=True):
    """A device as torch reports it: `name` is what `--devices` takes; `capability` is like 9.0, or gfx90a on AMD."""

    name: Name
    kind: Name
    model: Text = ""
    memory_bytes: Count | None = None
    capability: Text = ""


class Unread(Struct, frozen=True):
    """A fact that could not be read, and why."""

    what: Name
    why: Text


class TorchBuild(Struct, frozen=True, kw_only=True):
    """What torch was built for, read from its own files before anything is imported; empty if not built for it."""

    cuda: Text = ""
    hip: Text = ""
    xpu: Text = ""
    wheel: Text = ""


class TorchFacts(Struct, frozen=True, kw_only=True):
    """What torch reports about itself once it is imported; `warnings` is what it printed in the meantime."""

    architectures: tuple[Text, ...] = ()
    cuda_available: bool = False
    mps_built: bool = False
    mps_available: bool = False
    xpu_built: bool = False
    xpu_available: bool = False
    onednn: bool = True
    float32_precision: dict[Name, Text] = {}
    warnings: Text = ""


class ImportFailure(Struct, frozen=True):
    """Why torch and torchvision cannot be imported.

    Attributes:
        output: the end of what was printed.
        without: the environment variable without which the import works, or `the user site`; empty if unknown.
    """

    kind: FailureKind
    reason: Text
    output: Text = ""
    without: Text = ""


class PackageFault(Struct, frozen=True):
    """Something in a package's files that is not as an installer leaves it; `kind` is a key of `judge.broken.RULES`."""

    kind: Name
    package: Name
    clause: Text


class Trial(Struct, frozen=True, kw_only=True):
    """The result of a device's live probe.

    Attributes:
        failed_at: the stage that failed; empty if all passed.
        wrong: which results were wrong; empty if none.
        missing: operators that the device does not implement.
        fallbacks: operators that the device leaves to the CPU.
        without_effect: requests for mixed precision that the device ignores.
    """

    device: Name
    seconds: Seconds = 0.0
    failed_at: Text = ""
    kind: FailureKind | None = None
    reason: Text = ""
    wrong: Text = ""
    missing: tuple[Text, ...] = ()
    fallbacks: tuple[Text, ...] = ()
    without_effect: tuple[Text, ...] = ()


class Power(Struct, frozen=True, kw_only=True):
    """Power and heat; None where the machine does not report it.

    Attributes:
        thermal_pressure: of macOS, from 0 (nominal) to 4 (sleeping): OSThermalNotification.h.
        speed_limit: of the CPU, as a share of its full speed.
    """

    on_battery: bool | None = None
    battery_share: Share | None = None
    power_saving: bool | None = None
    thermal_pressure: Annotated[int, Meta(ge=0, le=100)] | None = None
    speed_limit: Share | None = None


class NvidiaGpu(Struct, frozen=True, kw_only=True):
    """A GPU as NVIDIA's driver reports it, before this run touches it."""

    model: Text
    capability: Text = ""
    memory_bytes: Count | None = None
    free_bytes: Count | None = None
    clock_mhz: Count | None = None
    most_clock_mhz: Count | None = None
    celsius: Annotated[int, Meta(ge=-300, le=10_000)] | None = None
    busy: Share | None = None
    processes: Count = 0
    throttled_by: tuple[Text, ...] = ()


class Nvidia(Struct, frozen=True, kw_only=True):
    """NVIDIA's driver: its version, the newest CUDA that it supports, and its GPUs."""

    driver: Text = ""
    cuda: Text = ""
    gpus: tuple[NvidiaGpu, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """The machine and its torch: everything that a figure depends on and that can be read without root access.

    Nothing in it identifies the user, the host or a serial number. What could not be read is None, or empty; `unread`
    has the reason where a probe failed.

    Attributes:
        interpreter: how a shell calls this Python.
        installer: what installs packages in it: pip, uv, conda or poetry.
        looked_for: which accelerators torch was asked for, in words.
        translated: the process runs under Rosetta.
        memory_bytes: of the machine, or of its container, if that has less.
        memory_limit_bytes: what a container or a service may use, if that is less than the machine has.
        virtual: the system runs in a virtual machine, as far as macOS, an x86 processor or the firmware reports that.
    """

    cpu: Text
    physical_cores: Count
    usable_cores: Count
    memory_bytes: Count
    system: Text
    architecture: Text
    python: Text
    packages: dict[Name, Text] = {}
    environment: dict[Name, Text] = {}
    devices: tuple[DeviceFacts, ...] = ()
    looked_for: Text = ""
    os_version: Text = ""
    os_build: Text = ""
    interpreter: Text = "python"
    installer: Text = "pip"
    translated: bool = False
    virtual: bool = False
    logical_cores: Count | None = None
    affinity_cores: Count | None = None
    performance_cores: Count | None = None
    cpu_quota: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    load: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    available_bytes: Count | None = None
    memory_limit_bytes: Count | None = None
    swap_used_bytes: Count | None = None
    power: Power = Power()
    display_adapters: tuple[Text, ...] = ()
    nvidia: Nvidia | None = None
    amd_driver: bool | None = None
    torch_build: TorchBuild | None = None
    torchvision_needs: Text = ""
    torch: TorchFacts | None = None
    import_failure: ImportFailure | None = None
    hiding: tuple[Text, ...] = ()
    """Clauses that name files that hide a module, where importing torch fails because of them."""
    package_faults: tuple[PackageFault, ...] = ()
    trials: tuple[Trial, ...] = ()
    unread: tuple[Unread, ...] = ()
