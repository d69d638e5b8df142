from collections.abc import Sequence
from typing import Any

import pytest
from making import CPU, CUDA, MPS, cell

from torchlap.cli.words import parse_batches, parse_phases, parse_seconds, parse_target, split_words
from torchlap.errors import EXIT_USAGE, UsageError
from torchlap.measuring.plan import (
    LARGEST_BATCH,
    Options,
    arm_groups,
    as_answered,
    check_model,
    groups,
    parse_devices,
    parse_suite,
    plan_run,
)
from torchlap.schema.arm import Arm
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.replies import Checked, Description
from torchlap.schema.suites import SIX, SUITES
from torchlap.schema.workload import Group, Identity, Phase, Plan, Workload, changed, is_own_file

SECOND = DeviceFacts("cuda:1", "cuda", "NVIDIA H200")
KNOWN = ["alexnet", "resnet18", "resnet34", "resnet50", "vgg11", "vgg16"]

PHASES: tuple[Phase, ...] = ("train", "eval")
RESNET = Workload("resnet18", 4)


def description() -> Description:
    return Description((CPU,), (*KNOWN, *SIX), "")


def refusal(parse: object, *words: object) -> str:
    """The message of the error."""
    assert callable(parse)
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert caught.value.exit_code == EXIT_USAGE
    return str(caught.value)


def test_a_suite_is_found_by_its_name() -> None:
    assert parse_suite("quick") is SUITES["quick"]
    assert parse_suite("quick").models == SIX


@pytest.mark.parametrize("name", ["", "Quick", "slow"])
def test_an_unknown_suite_is_refused_with_the_existing_names(name: str) -> None:
    assert refusal(parse_suite, name) == f"Unknown suite {name!r}: choose one of {', '.join(SUITES)}."


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_batches_and_a_budget_that_the_options_accept(name: str) -> None:
    suite = SUITES[name]
    assert parse_batches(",".join(map(str, suite.batches))) == suite.batches
    assert parse_phases(",".join(suite.phases)) == suite.phases
    assert parse_seconds(str(suite.budget_seconds), "budget") == suite.budget_seconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": ("resnet18",), "items": 4}, "for your own models, but resnet18 counts for itself"),
        ({"models": ("net.py:f", "hf:gpt2"), "unit": "words"}, "but hf:gpt2 counts for itself"),
        ({"unit": "words"}, "but suite quick counts for itself"),
        ({"models": ("net.py:f",), "items": 0}, "Invalid number of items 0"),
        ({"models": ("net.py:f",), "items": 96, "batches": (4, 8)}, "--items 96 .* --batch names 2 batch sizes"),
        ({"models": ("net.py:f",), "unit": "a\nb"}, "Invalid unit"),
        ({"models": ("net.py:f",), "unit": "u" * 31}, "Invalid unit"),
    ],
)
def test_a_count_that_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_run(Options(**given), description())


def test_a_plan_has_the_items_and_the_unit_that_were_given() -> None:
    plan = plan_run(Options(models=("net.py:f",), items=96, unit="words", batches=(4,)), description())
    assert (plan.items, plan.unit) == (96, "words")


def test_words_are_between_commas_and_the_empty_ones_are_dropped() -> None:
    assert split_words(" a, b c ,,d,") == ["a", "b c", "d"]
    assert split_words(" , ") == []


@pytest.mark.parametrize(
    ("text", "batches"),
    [("4,64", (4, 64)), ("1", (1,)), (" 8 , 8,2,", (8, 2)), ("007", (7,)), (str(LARGEST_BATCH), (65_536,))],
)
def test_batches_are_whole_numbers_without_duplicates(text: str, batches: tuple[int, ...]) -> None:
    assert parse_batches(text) == batches


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0", "0"),
        ("-1", "-1"),
        ("x", "x"),
        ("", ""),
        (",", ","),
        ("4,x,y", "x"),
        ("4.0", "4.0"),
        ("1e3", "1e3"),
        ("65537", "65537"),
        ("99999999999", "99999999999"),
        ("٤", "٤"),
        ("²", "²"),
        ("4 64", "4 64"),
    ],
)
def test_an_invalid_batch_size_is_named(text: str, word: str) -> None:
    message = f"Invalid batch size {word!r}: use whole numbers from 1 to 65536, like 4,64."
    assert refusal(parse_batches, text) == message


@pytest.mark.parametrize(
    ("text", "phases"),
    [("train", ("train",)), ("eval,train", ("eval", "train")), (" train , train", ("train",))],
)
def test_phases_are_train_and_eval_without_duplicates(text: str, phases: tuple[str, ...]) -> None:
    assert parse_phases(text) == phases


@pytest.mark.parametrize("text", ["", ",", "test", "train,test", "Train", "train+eval"])
def test_an_invalid_phase_is_refused(text: str) -> None:
    assert refusal(parse_phases, text) == f"Invalid phase {text!r}: use train, eval or train,eval."


@pytest.mark.parametrize(
    ("text", "recipe"),
    [
        ("fp32", Recipe()),
        ("compile", Recipe("fp32", compile=True)),
        ("bf16+channels_last+fused", Recipe("bf16", "channels_last", fused=True)),
        ("fused+contiguous+tf32", Recipe("tf32", "contiguous", fused=True)),
        ("fp16+fp16", Recipe("fp16")),
    ],
)
def test_a_recipe_is_its_words_in_any_order(text: str, recipe: Recipe) -> None:
    assert parse_recipe(text) == recipe


def test_a_recipe_includes_the_workers_of_the_loader() -> None:
    assert parse_recipe("bf16", 0) == Recipe("bf16", workers=0)
    assert parse_recipe("bf16", 4).workers == 4
    assert parse_recipe("bf16").workers is None


@pytest.mark.parametrize("text", ["fp32", "bf16+channels_last+compile+fused", "tf32+contiguous"])
def test_a_recipe_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_recipe(text)) == text


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("fp32+bf16", "fp32", "bf16"),
        ("bf16+tf32+fused", "bf16", "tf32"),
        ("fp16+contiguous+channels_last", "contiguous", "channels_last"),
    ],
)
def test_a_recipe_with_conflicting_words_is_refused(text: str, first: str, second: str) -> None:
    message = (
        f"The recipe {text!r} names both {first} and {second}: choose one, or give two recipes separated by a comma."
    )
    assert refusal(parse_recipe, text) == message


@pytest.mark.parametrize(("text", "word"), [("", ""), ("fp64", "fp64"), ("bf16+", ""), ("bf16 +fused", "bf16 ")])
def test_an_unknown_term_of_a_recipe_is_named(text: str, word: str) -> None:
    assert refusal(parse_recipe, text).startswith(f"Unknown recipe term {word!r}: join any of fp32, tf32, ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), (" 5m ", 300), ("1h", 3600), ("1.5m", 90), ("0.5", 0.5), ("168h", 604_800)],
)
def test_times_are_in_seconds_unless_they_have_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text, "budget") == seconds


@pytest.mark.parametrize(
    "text", ["0", "0s", "0.0", "-1", "", "x", "m", "5 m", "1h30m", "169h", "nan", "inf", "1e3", "9" * 400, "1d"]
)
def test_an_invalid_time_is_refused(text: str) -> None:
    message = f"Invalid budget {text!r}: use a positive time of at most a week, like 90s, 5m or 1h."
    assert refusal(parse_seconds, text, "budget") == message


@pytest.mark.parametrize(
    ("text", "target"), [("2%", 0.02), ("0.02", 0.02), (" .5 % ", 0.005), ("50%", 0.5), ("0.1%", 0.001)]
)
def test_a_target_is_a_share_or_a_percentage(text: str, target: float) -> None:
    assert parse_target(text) == pytest.approx(target, rel=1e-12)


@pytest.mark.parametrize("text", ["0", "0%", "2", "51%", "0.05%", "-2%", "", "%", "x", "nan", "1e-2", "9" * 400])
def test_an_invalid_target_is_refused(text: str) -> None:
    message = f"Invalid precision target {text!r}: use a share from 0.1% to 50%, like 2%."
    assert refusal(parse_target, text) == message


@pytest.mark.parametrize(
    ("text", "found", "names"),
    [
        ("all", [CPU, CUDA], ("cpu", "cuda:0")),
        ("cpu", [CPU, CUDA], ("cpu",)),
        ("cuda", [CPU, CUDA, SECOND], ("cuda:0",)),
        ("cuda:1,cuda:0,cpu", [CPU, CUDA, SECOND], ("cpu", "cuda:1", "cuda:0")),
        ("mps, cpu", [CPU, MPS], ("cpu", "mps")),
        ("cpu,cpu", [CPU], ("cpu", "cpu")),
        ("cuda,cuda:0", [CPU, CUDA], ("cuda:0", "cuda:0")),
    ],
)
def test_devices_are_selected_by_name_with_the_cpu_first(
    text: str, found: Sequence[DeviceFacts], names: tuple[str, ...]
) -> None:
    assert parse_devices(text, found) == names


@pytest.mark.parametrize(("text", "word"), [("mps", "mps"), ("cpu,cuda:7", "cuda:7"), ("", ""), ("CPU", "CPU")])
def test_a_missing_device_is_refused_with_the_available_ones(text: str, word: str) -> None:
    message = f"Device {word!r} is not available: torch finds cpu, cuda:0."
    assert refusal(parse_devices, text, [CPU, CUDA]) == message


def test_a_model_that_exists_is_accepted() -> None:
    check_model("resnet18", KNOWN)


def test_an_unknown_model_is_refused_with_the_nearest_names() -> None:
    assert refusal(check_model, "resnet19", KNOWN) == (
        "Unknown torchvision model 'resnet19': did you mean resnet18 or resnet50 or resnet34?"
    )


@pytest.mark.parametrize("name", ["", "qqqqqqqq"])
def test_a_name_unlike_any_model_is_refused_with_the_models_of_the_suite(name: str) -> None:
    assert refusal(check_model, name, KNOWN) == (
        f"Unknown torchvision model {name!r}: torchvision has 6 models, such as vgg16, alexnet, resnet18, "
        "mobilenet_v2, efficientnet_b0, squeezenet1_0."
    )


def test_a_name_with_a_colon_is_refused_with_the_form_of_own_models() -> None:
    assert "path/to/file.py:function" in refusal(check_model, "net:build", KNOWN)


@pytest.mark.parametrize(
    ("model", "own"), [("net.py:build", True), ("a/b.py", True), ("resnet18", False), ("net:build", False)]
)
def test_an_own_file_is_distinguished_from_a_torchvision_name(model: str, own: object) -> None:
    assert is_own_file(model) is own


def test_each_workload_is_a_group_of_every_device_in_every_recipe() -> None:
    fast = Recipe("bf16")
    workloads = [Workload(model, 4, phase) for model in ("resnet18", "vgg16") for phase in PHASES]
    made = groups(workloads, [Recipe(), fast], ["cpu", "cuda:0"])
    assert len(made) == 4
    assert made[1] == Group(
        (
            cell("cpu", phase="eval"),
            cell("cpu", phase="eval", recipe=fast),
            cell("cuda:0", phase="eval"),
            cell("cuda:0", phase="eval", recipe=fast),
        )
    )
    assert [group.cells[0].workload.model for group in made] == ["resnet18", "resnet18", "vgg16", "vgg16"]


def test_tf32_is_left_out_for_a_device_without_it_that_has_another_recipe() -> None:
    tf32 = Recipe("tf32")
    (made,) = groups([RESNET], [Recipe(), tf32], ["cpu", "cuda:0"])
    assert made == Group((cell("cpu"), cell("cuda:0"), cell("cuda:0", recipe=tf32)))


def test_a_device_that_supports_none_of_the_recipes_is_refused() -> None:
    message = refusal(groups, [RESNET], [Recipe("tf32")], ["cpu", "cuda:0"])
    assert message.startswith("TF32 exists only on NVIDIA GPUs, not on cpu: add a recipe that works there")


def test_a_plan_too_large_for_a_run_file_is_refused() -> None:
    assert "too many for one run" in refusal(groups, [RESNET] * 10_001, [Recipe()], ["cpu"])
    assert "too many for one run" in refusal(groups, [RESNET], [Recipe()] * 1001, ["cpu"])


def test_each_workload_recipe_and_device_is_a_group_of_every_arm() -> None:
    arms = (Arm("a"), Arm("b"))
    found = arm_groups([RESNET], [Recipe(), Recipe("bf16")], ("cpu", "cuda:0"), arms)
    assert [[(cell.device, str(cell.recipe), cell.arm) for cell in group.cells] for group in found] == [
        [(device, recipe, "a"), (device, recipe, "b")] for recipe in ("fp32", "bf16") for device in ("cpu", "cuda:0")
    ]


def test_an_arm_may_have_a_recipe_of_its_own_where_every_arm_can_run() -> None:
    arms = (Arm("a"), Arm("b", recipe=Recipe("tf32")))
    (only,) = arm_groups([RESNET], [Recipe(workers=2)], ("cpu", "cuda:0"), arms)
    assert [(cell.device, str(cell.recipe)) for cell in only.cells] == [
        ("cuda:0", "fp32+workers:2"),
        ("cuda:0", "tf32+workers:2"),
    ]
    with pytest.raises(UsageError, match="No device supports the recipe of every arm"):
        arm_groups([RESNET], [Recipe()], ("cpu",), (Arm("a"), Arm("b", recipe=Recipe("bf16")), arms[1]))


def test_a_suite_may_have_a_batch_size_and_a_sequence_length_per_model() -> None:
    plan = plan_run(Options(suite="apple-2022"), description())
    workloads = [group.cells[0].workload for group in plan.groups]
    assert [(workload.model, workload.batch, workload.seq) for workload in workloads[::2]] == [
        ("resnet50", 128, None),
        ("hf:bert-base", 64, 128),
        ("vgg16", 64, None),
    ]
    assert [workload.phase for workload in workloads[:2]] == ["train", "eval"]


def test_a_sequence_length_needs_a_text_model() -> None:
    assert "name one, such as hf:gpt2" in refusal(plan_run, Options(models=("resnet18",), seq=8), description())


def test_the_models_own_rows_unit_and_identity_enter_the_plan() -> None:
    own = tuple(Workload("net.py:make", batch) for batch in (4, 64))
    plan = Plan(suite="own", groups=groups(own, [Recipe()], ["cpu"]))
    answers = dict.fromkeys(own, Checked(parameters=7, rows=5, unit="tokens", sha256="ab", inputs=("5x3 int64",)))
    answered = as_answered(plan, answers)
    assert [group.cells[0].workload for group in answered.groups] == [
        Workload("net.py:make", 5, unit="tokens", asked=4)
    ]
    assert answered.identities == (Identity("net.py:make", 7, "ab", ("5x3 int64",)),)


def test_two_models_of_one_name_differ_by_their_file_or_their_parameters() -> None:
    old = Identity("net.py:make", 7, "ab")
    assert changed(old, old) == ()
    assert changed(old, Identity("net.py:make", 8, "cd")) == ("7 vs. 8 parameters", "file ab vs. cd")
