"""The rules about machines, on facts made by hand."""

import re

import pytest
from machines import IDLE_H100, MACHINES, ROCM, XPU, laptop, mac, mac_without_mps, server, server_without_cuda
from making import FACTS, header, run
from msgspec.structs import replace

from torchlap.judge import broken
from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine import CATALOGUE, CHAINS, diagnose, exit_code
from torchlap.judge.measurement import CATALOGUE as MEASURING
from torchlap.judge.measurement import findings
from torchlap.schema.machine import DeviceFacts, Facts, Nvidia, TorchBuild, TorchFacts, Trial


def with_code(facts: Facts, code: str) -> list[Finding]:
    return [finding for finding in diagnose(facts) if finding.code == code]


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_has_the_expected_findings_and_no_others(name: str) -> None:
    facts, codes = MACHINES[name]
    assert tuple(finding.code for finding in diagnose(facts)) == codes


def test_every_rule_has_a_machine() -> None:
    covered = {code for _, codes in MACHINES.values() for code in codes}
    assert len(MACHINES) >= 25
    assert covered == {rule.code for rule in CATALOGUE} - {broken.NEEDED.code}  # it leaves no facts


def test_codes_are_sorted_and_unique() -> None:
    codes = [rule.code for rule in (*CATALOGUE, *MEASURING)]
    assert codes == sorted(set(codes))
    assert all(re.fullmatch(r"TL1[0-9]{2}", rule.code) for rule in CATALOGUE)


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: str(rule.code))
def test_a_rule_has_a_reason_a_remedy_and_a_source(rule: Rule) -> None:
    assert rule.why.endswith(".")
    assert rule.remedy.endswith(".")
    findings_of_rule = [finding for facts, _ in MACHINES.values() for finding in with_code(facts, rule.code)]
    assert all(finding.evidence and finding.remedy and finding.why and finding.source for finding in findings_of_rule)


@pytest.mark.parametrize(
    ("macos", "torch", "needed"),
    [
        ("12.2.1", "1.13.0", "12.3"),
        ("12.6", "2.5.1", "13"),
        ("13.7", "2.9.0", "14"),
        ("13.7", "2.15.0", "15"),
        ("14.7.2", "2.15.0+cpu", "15"),
        ("14.7.2", "2.15.0.dev20260901", "15"),
    ],
)
def test_the_macos_that_a_torch_requires_is_named(macos: str, torch: str, needed: str) -> None:
    (finding,) = with_code(mac_without_mps("M1", macos, torch), "TL112")
    assert finding.evidence == f"macOS {macos}, torch {torch}, which requires macOS {needed} or newer"
    assert finding.remedy.startswith(f"Update macOS to {needed} or newer")


@pytest.mark.parametrize(
    ("macos", "torch"), [("12.4", "1.13.0"), ("12.3", "2.4.1"), ("13", "2.8.0"), ("14.0", "2.14.0"), ("15", "2.15")]
)
def test_a_macos_that_is_new_enough_is_not_reported(macos: str, torch: str) -> None:
    assert with_code(mac_without_mps("M1", macos, torch), "TL112") == []


def test_a_torch_for_an_old_macos_is_named() -> None:
    (finding,) = with_code(mac_without_mps("M1", "13.7", "2.15.0"), "TL112")
    assert finding.remedy == "Update macOS to 15 or newer, or install a torch older than 2.9."
    (finding,) = with_code(mac_without_mps("M1", "12.0", "2.15.0"), "TL112")
    assert finding.remedy == "Update macOS to 15 or newer."


def test_a_device_that_works_is_trusted_over_the_table_of_versions() -> None:
    assert diagnose(mac("M4", "13.0", "2.15.0", os_version="13.0")) == ()


def test_an_invalid_version_of_macos_has_no_finding_about_versions() -> None:
    assert [finding.code for finding in diagnose(mac_without_mps("M4", "Sequoia", "2.15.0"))] == ["TL113"]


@pytest.mark.parametrize(
    ("high", "low", "wrong"),
    [
        ("0.0", None, True),
        ("1.0", None, True),
        ("1.0", "0.8", False),
        ("1.7", None, False),
        ("much", None, False),
        ("", "1.9", True),
    ],
)
def test_unsafe_watermarks_are_reported(high: str, low: str | None, wrong: bool) -> None:
    environment = {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": high}
    if low is not None:
        environment["PYTORCH_MPS_LOW_WATERMARK_RATIO"] = low
    assert bool(with_code(mac("M4", "26.4", "2.15.0", environment=environment), "TL114")) is wrong


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ("9.0", ("sm_80", "sm_90"), True),
        ("8.9", ("sm_80", "sm_86"), True),  # code for 8.6 runs on 8.9
        ("8.0", ("sm_86",), False),  # not on what is older
        ("12.0", ("sm_90", "compute_90"), True),  # compiled on first use
        ("12.0", ("sm_90",), False),
        ("6.1", ("sm_75", "compute_75"), False),
        ("10.0", ("sm_90a",), False),
        ("9.0", ("sm_90a",), True),
        ("gfx1100", ("gfx90a", "gfx1100"), True),
        ("gfx1101", ("gfx1100",), False),
        ("gfx90a", ("gfx90a:sramecc+:xnack-",), True),
        ("9.0", ("gibberish",), False),
    ],
)
def test_which_architectures_a_device_can_run(capability: str, architectures: tuple[str, ...], runs: bool) -> None:
    machine = server(torch=TorchFacts(cuda_available=True, architectures=architectures))
    device = replace(machine.devices[1], capability=capability)
    assert bool(with_code(replace(machine, devices=(device,), trials=()), "TL126")) is not runs


@pytest.mark.parametrize(
    ("visible", "hidden"), [("", True), ("-1", True), ("1", True), ("0", False), ("GPU-<id>", True), ("junk", True)]
)
def test_which_settings_hide_the_gpu(visible: str, hidden: bool) -> None:
    machine = server_without_cuda(environment={"CUDA_VISIBLE_DEVICES": visible})
    assert [finding.code for finding in diagnose(machine)] == ["TL123" if hidden else "TL125"]


@pytest.mark.parametrize(
    ("driver", "built", "too_old"),
    [
        ("535.104.05", "13.0", True),
        ("580.65.06", "13.0", False),
        ("580", "13.0", False),
        ("450.80.02", "11.8", False),
        ("418.39", "11.8", True),
        ("535.104.05", "12.8", False),
        ("390.1", "10.2", False),
        ("unknown", "13.0", False),
    ],
)
def test_the_oldest_driver_depends_on_the_major_version_of_cuda(driver: str, built: str, too_old: bool) -> None:
    machine = server_without_cuda(nvidia=Nvidia(driver=driver, gpus=(IDLE_H100,)), torch_build=TorchBuild(cuda=built))
    assert bool(with_code(machine, "TL124")) is too_old


def test_the_command_names_this_python_and_wheels_for_this_driver() -> None:
    old = Nvidia(driver="535.104.05", gpus=(IDLE_H100,))
    machine = server_without_cuda(torch_build=TorchBuild(), interpreter="~/env/bin/python", nvidia=old)
    (finding,) = with_code(machine, "TL122")
    assert finding.command == (
        "~/env/bin/python -m pip install --upgrade --force-reinstall torch torchvision "
        "--index-url https://download.pytorch.org/whl/cu126"
    )


@pytest.mark.parametrize(("value", "set_"), [("0", False), ("", False), ("1", True), ("STRICT", False), ("BF16", True)])
def test_a_variable_that_is_off_has_no_effect(value: str, set_: bool) -> None:
    assert bool(with_code(laptop(environment={"ONEDNN_DEFAULT_FPMATH_MODE": value}), "TL150")) is set_


@pytest.mark.parametrize(
    ("driver", "capability", "wheel"),
    [
        ("580.65.06", "9.0", "cu130"),
        ("580.65.06", "7.0", "cu126"),
        ("570.1", "12.0", "cu128"),
        ("570.1", "9.0", "cu128"),
        ("535.1", "8.0", "cu126"),
        ("535.1", "12.0", ""),
        ("470.82", "8.0", ""),
        ("", "9.0", ""),
    ],
)
def test_the_recommended_wheel_runs_on_this_driver_and_gpu(driver: str, capability: str, wheel: str) -> None:
    gpu = replace(IDLE_H100, capability=capability)
    machine = server_without_cuda(torch_build=TorchBuild(), nvidia=Nvidia(driver=driver, gpus=(gpu,)))
    (finding,) = with_code(machine, "TL122")
    assert finding.command.rpartition("/")[2] == wheel


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("HIP_VISIBLE_DEVICES", {**ROCM}),
        ("ROCR_VISIBLE_DEVICES", {**ROCM}),
        ("ZE_AFFINITY_MASK", {**XPU, "torch": TorchFacts(xpu_built=True)}),
    ],
)
def test_a_gpu_of_another_vendor_can_be_hidden_too(name: str, facts: dict[str, object]) -> None:
    (finding,) = diagnose(server_without_cuda(environment={name: "-1"}, **facts))
    assert (finding.code, finding.command) == ("TL123", f"unset {name}")


@pytest.mark.parametrize("wheel", [TorchBuild(hip="7.1"), TorchBuild(xpu="2025"), TorchBuild(cuda="13.0")])
def test_a_machine_without_an_accelerator_is_fine_whatever_the_wheel(wheel: TorchBuild) -> None:
    machine = laptop(torch_build=wheel, torch=TorchFacts(xpu_built=bool(wheel.xpu)))
    assert [finding.code for finding in diagnose(machine)] == ["TL101"]


def test_a_gpu_that_torch_may_not_use_can_be_busy() -> None:
    busy = replace(IDLE_H100, busy=1.0, processes=2, throttled_by=("power brake",))
    both = Nvidia(driver="580.1", cuda="13.0", gpus=(busy, IDLE_H100))
    assert diagnose(server(nvidia=both, environment={"CUDA_VISIBLE_DEVICES": "1"})) == ()
    assert [finding.where for finding in diagnose(server(nvidia=both))] == ["GPU 0", "GPU 0"]
    assert len(diagnose(server(nvidia=both, environment={"CUDA_VISIBLE_DEVICES": "GPU-<id>"}))) == 2


def test_a_power_cap_on_an_idle_gpu_is_not_throttling() -> None:
    assert diagnose(server(replace(IDLE_H100, throttled_by=("power cap",), busy=0.0))) == ()
    assert with_code(server(replace(IDLE_H100, throttled_by=("power cap",), busy=0.9)), "TL127") != []


def test_a_device_that_passed_its_trial_is_trusted_over_its_architecture() -> None:
    machine = server(torch=TorchFacts(cuda_available=True, architectures=("gfx11-generic",)))
    device = replace(machine.devices[1], capability="gfx1102")
    assert diagnose(replace(machine, devices=(machine.devices[0], device))) == ()


def test_the_remedy_for_a_full_memory_is_not_a_restart() -> None:
    trial = Trial(device="cuda:0", failed_at="allocating memory", kind="out_of_memory", reason="CUDA out of memory")
    (finding,) = with_code(server(trials=(trial,)), "TL140")
    assert "memory is full" in finding.remedy


def test_a_variable_for_a_missing_device_has_no_effect() -> None:
    names = ("PYTORCH_MPS_FAST_MATH", "NVIDIA_TF32_OVERRIDE", "CUDA_LAUNCH_BLOCKING")
    assert [finding.code for finding in diagnose(laptop(environment=dict.fromkeys(names, "1")))] == ["TL101"]


def test_the_worst_comes_first_and_effects_are_left_out() -> None:
    machine = server_without_cuda(
        environment={"OMP_NUM_THREADS": "1"}, torch_build=TorchBuild(), display_adapters=("NVIDIA", "AMD"), load=99.0
    )
    severities = [finding.severity for finding in diagnose(machine)]
    assert severities == ["error", "warning", "warning", "note"]
    assert with_code(machine, "TL101") == []  # the effect of the first


@pytest.mark.parametrize(
    ("name", "code"), [("H100", 0), ("two cores, no accelerator", 0), ("H100, busy", 1), ("H100, CPU wheel", 2)]
)
def test_the_exit_code_depends_on_the_worst_finding(name: str, code: int) -> None:
    assert exit_code(diagnose(MACHINES[name][0])) == code


def test_facts_that_an_older_run_file_lacks_give_no_findings() -> None:
    assert diagnose(FACTS) == ()


def test_a_run_on_the_cpu_alone_has_the_finding_too() -> None:
    machine = laptop()
    assert [finding.code for finding in findings(run(machine=machine))] == ["TL101"]
    assert header(machine=machine).facts is machine


def test_no_check_is_in_two_chains() -> None:
    checks = [check for chain in CHAINS for check in chain]
    assert len(checks) == len(set(checks))


@pytest.mark.parametrize("capability", ["fp16", "9.0.0", "\u0669", "9" * 5000, "gfx" + "9" * 5000, "."])
def test_an_invalid_capability_is_ignored(capability: str) -> None:
    odd = DeviceFacts("cuda:0", "cuda", "A GPU", capability=capability)
    torch = TorchFacts(architectures=("sm_90", "sm_" + "9" * 5000))
    unset = {"CUDA_VISIBLE_DEVICES": "9" * 5000, "OMP_NUM_THREADS": "9" * 5000}
    assert isinstance(diagnose(replace(FACTS, devices=(odd,), torch=torch, environment=unset)), tuple)
