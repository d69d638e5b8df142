"""What a figure depends on: the machine, its devices, and the installed torch."""

from typing import Annotated

from msgspec import Meta, Struct

from torchlap.schema.base import Count, FailureKind, Name, Seconds, Share, Text


class DeviceFacts(Struct, frozen=True):
    """One device as torch sees it: `name` is what `--devices` takes; `capability` is like 9.0, or gfx90a for AMD."""

    name: Name
    kind: Name
    model: Text = ""
    memory_bytes: Count | None = None
    capability: Text = ""


class Unread(Struct, frozen=True):
    """A probe that failed: what it was to read, and why it could not."""

    what: Name
    why: Text


class TorchBuild(Struct, frozen=True, kw_only=True):
    """What torch's own files say before anything is imported: the versions it was built for, empty for without."""

    cuda: Text = ""
    hip: Text = ""
    xpu: Text = ""
    wheel: Text = ""


class TorchFacts(Struct, frozen=True, kw_only=True):
    """What torch says of itself once it is imported; `said` holds what it complained of meanwhile."""

    architectures: tuple[Text, ...] = ()
    cuda_available: bool = False
    mps_built: bool = False
    mps_available: bool = False
    xpu_built: bool = False
    xpu_available: bool = False
    onednn: bool = True
    flushes_denormals: bool = True
    float32_precision: dict[Name, Text] = {}
    said: Text = ""


class ImportFailure(Struct, frozen=True):
    """Why torch and torchvision cannot be imported; `said` is the end of what was printed."""

    kind: FailureKind
    reason: Text
    said: Text = ""


class Trial(Struct, frozen=True, kw_only=True):
    """How a device did in the live probe.

    `failed_at` is the stage that failed, empty where all passed; `wrong` says which numbers came out wrong, `missing`
    and `fallbacks` which operators the device has not got, or left to the CPU.
    """

    device: Name
    seconds: Seconds = 0.0
    failed_at: Text = ""
    kind: FailureKind | None = None
    reason: Text = ""
    wrong: Text = ""
    missing: tuple[Text, ...] = ()
    fallbacks: tuple[Text, ...] = ()


class Power(Struct, frozen=True, kw_only=True):
    """What the machine says of power and heat; None where it does not tell.

    `thermal_pressure` is macOS's, 0 nominal to 4 sleeping (OSThermalNotification.h); `speed_limit` the CPU's.
    """

    on_battery: bool | None = None
    battery_share: Share | None = None
    power_saving: bool | None = None
    thermal_pressure: Annotated[int, Meta(ge=0, le=100)] | None = None
    speed_limit: Share | None = None


class NvidiaGpu(Struct, frozen=True, kw_only=True):
    """A GPU as NVIDIA's driver sees it, before this run touches it."""

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
    """NVIDIA's driver: its version, the newest CUDA it knows, its GPUs."""

    driver: Text = ""
    cuda: Text = ""
    gpus: tuple[NvidiaGpu, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """What machine, what torch: everything that a figure depends on and that can be read without rights.

    Nothing in it names the user, the host or a serial number. What could not be read is None, or empty, with its
    reason in `unread` where a probe failed. `interpreter` is how a shell calls this Python.
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
    translated: bool = False
    logical_cores: Count | None = None
    affinity_cores: Count | None = None
    performance_cores: Count | None = None
    efficiency_cores: Count | None = None
    cpu_quota: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    load: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    available_bytes: Count | None = None
    swap_used_bytes: Count | None = None
    power: Power = Power()
    display_adapters: tuple[Text, ...] = ()
    nvidia: Nvidia | None = None
    amd_driver: bool | None = None
    torch_build: TorchBuild | None = None
    torchvision_needs: Text = ""
    torch: TorchFacts | None = None
    import_failure: ImportFailure | None = None
    trials: tuple[Trial, ...] = ()
    unread: tuple[Unread, ...] = ()
