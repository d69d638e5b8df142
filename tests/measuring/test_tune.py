"""The whole search on a fake clock: words with known gains, words that help nothing, and candidates that fail."""

from collections.abc import Callable
from math import exp
from random import Random
from typing import cast

import pytest
from machines import server
from msgspec.structs import replace

from torchlap.measuring.tune import candidates
from torchlap.measuring.tune.ahead import COMPILER_THREADS
from torchlap.measuring.tune.candidates import (
    Place,
    accumulated,
    combined,
    modes_of,
    precisions_of,
    shapes_of,
    with_word,
    words_of,
)
from torchlap.measuring.tune.search import Hands, Search
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.runs.figures import tally
from torchlap.runs.tuning import LOOKS, WITHOUT, TunedRun, astray, standing, tuned
from torchlap.schema.base import FailureKind
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.effort import Tuning
from torchlap.schema.events import SCHEMA, Event, Header, Preparation, Round, Run, RunFinished
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.replies import (
    Built,
    Explained,
    Followed,
    LapsDone,
    LapTime,
    PeaksReached,
    Prepared,
    Released,
    Reply,
    Verified,
)
from torchlap.schema.requests import Build, Explain, Follow, MeasurePeaks, Release, Request, RunLaps, Verify, WarmUp
from torchlap.schema.tuning import CandidateAdded, CodeRun, LeftOut, Trajectory, TrajectoryFollowed
from torchlap.schema.workload import Cell, Group, Plan, Workload

SEEDS = range(20)
STEP, BUILD_SECONDS = 0.02, 0.1
NOISE = 0.02
"""Of a lap, on the log scale."""

GAINS = {"graph": 1.6, "compile": 1.3, "channels_last": 1.1, "fused": 1.05, "cudnn_benchmark": 1.0, "bf16": 1.5}
"""What each word is worth, alone and combined; others nothing."""

Speed = Callable[[Cell], float]


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to compile several recipes at the same time, on any machine."""
    monkeypatch.setattr("torchlap.measuring.context.cpu_threads", lambda: (4 * COMPILER_THREADS, "a test"))


def words(recipe: Recipe) -> list[str]:
    return str(recipe).split("+")


def known_gains(cell: Cell) -> float:
    seconds = STEP
    for word in words(cell.recipe):
        seconds /= GAINS.get(word, 1.0)
    return seconds * (cell.workload.batch / 64)


def items(cell: Cell, steps: int) -> int:
    return cell.workload.batch * cell.recipe.accumulate * steps


class World:
    """A clock that only work moves on, and workers whose steps take `seconds(cell)`, with noise."""

    def __init__(self, seconds: Speed = known_gains, seed: int = 0, noise: float = NOISE) -> None:
        self.now, self.seconds, self.noise = 0.0, seconds, noise
        self.random = Random(seed)
        self.start_up_seconds = 0.0
        self.started = 0
        self.fails: dict[str, tuple[FailureKind, str]] = {}
        """By a word of the recipe: how its warm-up fails."""
        self.diverges: set[str] = set()
        self.freezes: set[str] = set()
        self.interrupt_at = 0
        """The turn, counted from 1, at which the user presses Ctrl-C."""
        self.turns = 0
        self.memory = 0
        self.build_seconds, self.verify_seconds, self.code_seconds = 0.1, 0.0, 0.0
        self.compile_seconds = self.cached_seconds = 10.0
        self.compiled: set[Recipe] = set()

    def start(self) -> "FakeWorker":
        self.started += 1
        return FakeWorker(self)

    def renew(self) -> None:
        return

    def close(self) -> None:
        return


class FakeWorker:
    pid = 0

    def __init__(self, world: World) -> None:
        self.world, self.is_new = world, True
        self.cells: dict[int, Cell] = {}

    def kill(self) -> None:
        self.cells.clear()

    def tell(self, request: Request) -> None:
        self.told = request
        if isinstance(request, Build):
            self.cells[request.slot] = request.cell

    def hear(self, answer: object, limit_seconds: float) -> Reply:
        if answer is Built:
            self.world.now += self.world.build_seconds if self.is_new else BUILD_SECONDS
            self.is_new = False
            return Built()
        return self.ask(self.told, answer, limit_seconds)

    def ask(self, request: Request, answer: object, limit_seconds: float, _: object = None) -> Reply:
        if isinstance(request, Release):
            self.cells.clear()
            return Released()
        cell = self.cells[request.slot]  # type: ignore[union-attr]  # all others are about a cell
        match request:
            case WarmUp():
                return self.prepare(cell)
            case RunLaps():
                return self.turn(cell, request)
            case _:
                return self.look(cell, request)

    def look(self, cell: Cell, request: Request) -> Reply:
        match request:
            case Verify():
                self.world.now += self.world.verify_seconds
                return Verified(Numerics(operators=9, closest=0.5))
            case Explain():
                return Explained(
                    Breakdown(phases={"forward": (0.1,)}, steps=(0.1,), peak_memory_bytes=self.world.memory or None)
                )
            case MeasurePeaks():
                return PeaksReached(Peaks(device=cell.device, flops={"fp32": 1e12}))
            case _:
                return Followed(self.follow(cell, cast("Follow", request)))

    def prepare(self, cell: Cell) -> Prepared:
        for word, (kind, reason) in self.world.fails.items():
            if word in words(cell.recipe):
                raise CellFailedError(kind, reason)
        step = self.world.seconds(cell)
        compiled = replace(cell.recipe, graph=False, fused=False, cudnn_benchmark=False)
        compiling = self.world.cached_seconds if compiled in self.world.compiled else self.world.compile_seconds
        compiling = compiling if cell.recipe.compile else 0.0
        self.world.compiled.add(compiled)
        self.world.now += 3 * step + compiling
        return Prepared(
            Preparation(
                first_step_seconds=step + compiling,
                warm_up_steps=3,
                warm_up_seconds=3 * step,
                steady=True,
                step_seconds=step,
                optimizer_seconds=0.0,
                synchronize_seconds=0.0,
                first_loss=2.3,
                memory_format="contiguous",
                threads=1,
                input_shape=(64, 3, 8, 8),
                parameters=10,
            )
        )

    def follow(self, cell: Cell, request: Follow) -> Trajectory:
        self.world.now += request.steps * self.world.seconds(cell)
        off = 0.5 if self.world.diverges & set(words(cell.recipe)) else 0.0
        noise = 0.01 * request.seed
        losses = tuple(2.3 - 0.01 * step + (off + noise) * step / request.steps for step in range(request.steps))
        frozen = bool(self.world.freezes & set(words(cell.recipe)))
        still = ("layer.weight",) if frozen else ()
        moved = 9 if frozen else 10
        return Trajectory(
            losses=losses, seed=request.seed, perturbation=request.perturbation, moved=moved, parameters=10, still=still
        )

    def turn(self, cell: Cell, request: RunLaps) -> LapsDone:
        self.world.turns += 1
        if self.world.turns == self.world.interrupt_at:
            raise KeyboardInterrupt
        self.world.now += request.lead_in * self.world.seconds(cell)
        laps = []
        for _ in range(request.laps):
            noise = exp(self.world.random.gauss(0.0, self.world.noise)) if self.world.noise else 1.0
            seconds = request.steps * cell.recipe.accumulate * self.world.seconds(cell) * noise
            self.world.now += seconds
            laps.append(LapTime(seconds, 2.0, items(cell, request.steps)))
        return LapsDone(tuple(laps))


def plan_of(budget: float = 180.0, *, device: str = "cuda:0", tuning: Tuning | None = None) -> Plan:
    plain = Cell(Workload("resnet18", 64), Recipe(memory_format="contiguous"), device)
    return Plan(suite="tune", groups=(Group((plain,)),), budget_seconds=budget, tuning=tuning or Tuning())


def no_code(_plan: Plan, cell: Cell, _prepared: Preparation) -> tuple[str, str]:
    return f"# {cell}", ""


def searched(world: World, plan: Plan | None = None, earlier: tuple[Event, ...] = ()) -> tuple[Run, TunedRun]:
    """Search, until the end or Ctrl-C."""
    plan = plan or plan_of()
    events: list[Event] = list(earlier)

    def run_code(_code: str, _limit: float) -> tuple[tuple[float, ...], str]:
        world.now += world.code_seconds
        return (100.0, 101.0), ""

    search = Search(
        plan,
        cast("Launcher", world),
        Hands(lambda _cell, _peaks: "launch", no_code, run_code),
        emit=events.append,
        watch=lambda _: None,
        clock=lambda: world.now,
        started=world.now,
        hang_seconds=120.0,
    )
    search.replay(earlier)
    try:
        search.measure()
    except KeyboardInterrupt:
        assert isinstance(events[-1], RunFinished)
    run = Run(Header(schema=SCHEMA, torchlap="0", started="", facts=server(), plan=plan), tuple(events))
    found = tuned(run)
    assert found is not None
    return run, found


def winner(found: TunedRun, tier: str = "same") -> set[str]:
    number = found.winners.get(tier)  # type: ignore[call-overload]  # a tier's name
    rung = found.rung(number) if number is not None else None
    return set(words(rung.result.cell.recipe)) if rung else set()


@pytest.mark.parametrize("seed", SEEDS)
def test_words_with_known_gains_are_found_and_combined(seed: int) -> None:
    _, found = searched(World(seed=seed))
    assert winner(found) == {"fp32", "graph", "compile", "channels_last", "fused"}
    assert winner(found, "lower") == {"bf16", "graph", "compile", "channels_last", "fused"}


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_helps_no_word_wins(seed: int) -> None:
    _, found = searched(World(lambda _: STEP, seed=seed))
    assert found.winners == {}
    assert {rung.standing for rung in found.rungs} <= {"tie", "open"}
    assert not any(rung.wins or rung.ties for rung in found.rungs)


@pytest.mark.parametrize("seed", SEEDS)
def test_processes_that_differ_by_chance_are_no_gain(seed: int) -> None:
    """Where a process puts its memory changes its speed by a fraction of a percent, in all of its laps."""
    chance = Random(seed)
    speeds: dict[Recipe, float] = {}
    _, found = searched(World(lambda cell: STEP * speeds.setdefault(cell.recipe, chance.uniform(0.997, 1.003))))
    assert found.winners == {}


def test_a_race_ends_as_soon_as_the_candidate_is_clearly_slower() -> None:
    run, found = searched(World(lambda cell: STEP * (2 if "graph" in words(cell.recipe) else 1), noise=0.001))
    assert next(rung.standing for rung in found.rungs if rung.word == "graph") == "slower"
    rounds = [event for event in run.events if isinstance(event, Round) and 1 in {lap.cell for lap in event.laps}]
    assert len(rounds) == LOOKS[0]


def test_a_candidate_takes_turns_with_the_best_and_with_the_plain_step() -> None:
    run, _ = searched(World())
    racers = [{lap.cell for lap in event.laps} for event in run.events if isinstance(event, Round)]
    assert {0, 1} in racers
    assert any(0 in cells and len(cells) == 3 for cells in racers)


def test_a_candidate_that_hangs_takes_no_more_than_its_part_of_the_search() -> None:
    world = World()
    world.fails = {"graph": ("hang", "No answer for 74 s.")}
    _, found = searched(world)
    failed = next(rung for rung in found.rungs if "graph" in rung.word)
    assert failed.out.startswith("too slow: No step finished within")
    assert winner(found) == {"fp32", "compile", "channels_last", "fused"}


@pytest.mark.parametrize("kind", ["crash", "out_of_memory", "error", "refused"])
def test_a_candidate_that_fails_is_a_row_with_its_reason_and_the_others_go_on(kind: FailureKind) -> None:
    world = World()
    world.fails = {"graph": (kind, "It did not work.")}
    _, found = searched(world)
    failed = next(rung for rung in found.rungs if "graph" in rung.word)
    assert failed.out == f"{kind.replace('_', ' ')}: It did not work."
    assert winner(found) == {"fp32", "compile", "channels_last", "fused"}


def test_a_plain_step_that_fails_ends_the_search() -> None:
    world = World()
    world.fails = {"contiguous": ("out_of_memory", "It does not fit.")}
    run, found = searched(world)
    assert found.plain.failure is not None
    assert not found.rungs
    assert isinstance(run.events[-1], RunFinished)


def test_a_winner_whose_loss_goes_astray_is_out_and_the_next_one_wins() -> None:
    world = World()
    world.diverges = {"graph"}
    _, found = searched(world)
    assert winner(found) == {"fp32", "compile", "channels_last", "fused"}
    assert any("its loss is off" in rung.out for rung in found.rungs)


def test_a_winner_that_does_not_move_all_parameters_is_out() -> None:
    world = World()
    world.freezes = {"fused"}
    _, found = searched(world)
    assert "fused" not in winner(found)
    assert any(rung.out == "1 of 10 parameters do not change, such as layer.weight" for rung in found.rungs)


def test_lower_precision_never_becomes_the_answer_of_the_same_arithmetic() -> None:
    _, found = searched(World(lambda cell: STEP / (3 if "bf16" in words(cell.recipe) else 1)))
    assert set(found.winners) == {"lower"}


def test_allowed_precision_comes_first_and_a_quick_search_climbs_on_it_alone() -> None:
    _, found = searched(World(), plan_of(tuning=Tuning(allow=("precision",))))
    assert winner(found, "lower") == {"bf16", "graph", "compile", "channels_last", "fused"}
    assert {rung.tier for rung in found.rungs} == {"lower"}
    assert [rung.word for rung in found.rungs][:2] == ["bf16", "graph+compile+channels_last+fused"]
    assert {word.word for word in found.left_out} >= {"fp16", "tf32"}


def test_the_words_of_the_winner_are_each_left_out_once() -> None:
    _, found = searched(World(), plan_of(tuning=Tuning(effort="full"), budget=600.0))
    without = {rung.word: rung for rung in found.rungs if rung.word.startswith(WITHOUT)}
    assert set(without) == {f"{WITHOUT}{word}" for word in ("graph", "compile", "channels_last", "fused")}
    gain = without[f"{WITHOUT}graph"].gain
    assert gain is not None
    assert gain.low < 1 / GAINS["graph"] < gain.high


def test_every_winner_is_followed_and_checked() -> None:
    run, found = searched(World())
    group = tally(run)[0]
    for number in found.winners.values():
        assert number in group.trajectories
        assert number in group.numerics
        assert number in group.codes


def test_the_batch_changes_only_if_that_is_allowed_and_grows_up_to_the_knee() -> None:
    def knee(cell: Cell) -> float:
        return STEP * max(1.0, cell.workload.batch / 256)

    _, found = searched(World(knee))
    assert {rung.result.cell.workload.batch for rung in found.rungs} == {64}
    _, found = searched(World(knee), plan_of(tuning=Tuning(allow=("batch",))))
    rung = found.rung(found.winners["training"])
    assert rung is not None
    assert rung.result.cell.workload.batch == 256
    assert max(rung.result.cell.workload.batch for rung in found.rungs) > 512, "the largest that fits"


def test_a_batch_in_parts_is_raced_as_long_as_that_is_faster() -> None:
    """Steps of 32 images or fewer take 0.8 times as long an image, as where they fit into a cache."""
    _, found = searched(
        World(lambda cell: STEP * cell.workload.batch / 64 * (1.0 if cell.workload.batch > 32 else 0.8)),
        plan_of(tuning=Tuning(allow=("batch",))),
    )
    divided = {rung.word: rung for rung in found.rungs if rung.word.startswith("accumulate")}
    assert divided["accumulate:2"].standing == "faster"
    assert divided["accumulate:4"].standing in ("tie", "open")
    assert [rung.result.cell.workload.batch for rung in divided.values()] == [32, 16]
    assert divided["accumulate:2"].wins


def test_a_vocabulary_is_padded_only_if_the_shape_may_change() -> None:
    def padded(cell: Cell) -> float:
        return STEP / (1.2 if cell.recipe.pad_vocab else 1.0)

    for allow in ((), ("precision",), ("shape",)):
        plan = plan_of(tuning=Tuning(allow=allow))
        cell = plan.groups[0].cells[0]
        gpt = replace(cell, workload=replace(cell.workload, model="hf:gpt2", unit="tokens"))
        _, found = searched(World(padded), replace(plan, groups=(Group((gpt,)),)))
        assert ("training" in found.winners) == (allow == ("shape",))


def test_images_have_no_vocabulary_to_pad() -> None:
    for model in ("resnet18", "hf:vit", "net.py:make"):
        (word,) = shapes_of(model)
        assert word.why_not
    assert not shapes_of("hf:gpt2")[0].why_not
    assert not shapes_of("hf:./folder")[0].why_not


def test_a_batch_that_cannot_be_divided_is_not_accumulated() -> None:
    cell = plan_of().groups[0].cells[0]
    assert accumulated(replace(cell, workload=replace(cell.workload, batch=5)), 2) is None
    assert accumulated(replace(cell, workload=replace(cell.workload, phase="eval")), 2) is None


@pytest.mark.parametrize("turn", [1, 30, 60, 100])
def test_an_interrupted_search_keeps_its_ladder_and_goes_on(turn: int) -> None:
    world = World(seed=3)
    world.interrupt_at = turn
    first, _ = searched(world)
    assert cast("RunFinished", first.events[-1]).reason == "interrupted"
    raced = [event.added for event in first.events if isinstance(event, CandidateAdded)]
    world.interrupt_at = 0
    second, found = searched(world, earlier=first.events)
    assert winner(found) == {"fp32", "graph", "compile", "channels_last", "fused"}
    again = [event.added for event in second.events if isinstance(event, CandidateAdded)]
    assert again[: len(raced)] == raced
    assert len(set(again)) == len(again)
    codes = [event.cell for event in second.events if isinstance(event, CodeRun)]
    assert len(codes) == len(set(codes))


def test_a_complete_search_is_not_repeated() -> None:
    first, _ = searched(World())
    second, _ = searched(World(), earlier=first.events)
    assert second.events == first.events


def test_the_budget_holds() -> None:
    world = World(lambda cell: 10 * known_gains(cell))
    searched(world, plan_of(budget=60.0))
    assert world.now < 1.5 * 60


def test_memory_for_two_cells_holds_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.measuring.tune.search.cells_that_fit", lambda *_: 2)
    run, found = searched(World())
    assert max(len({lap.cell for lap in event.laps}) for event in run.events if isinstance(event, Round)) == 2
    assert winner(found) == {"fp32", "graph", "compile", "channels_last", "fused"}


CPU = Place(kind="cpu", threads=8, cores=16, images=True, trains=True)


@pytest.mark.parametrize(
    ("place", "tried", "not_tried"),
    [
        (CPU, {"compile", "channels_last", "threads:16", "threads:4"}, {"graph", "cudnn_benchmark"}),
        (Place(kind="mps", threads=8, cores=8, images=True, trains=True), {"compile+layout_opt_off"}, {"graph"}),
        (Place(kind="cuda", threads=8, cores=8, images=False, trains=False), {"graph", "compile"}, {"fused"}),
        (Place(kind="cuda", threads=8, cores=8, images=False, trains=True), {"fused"}, {"foreach", "channels_last"}),
    ],
)
def test_what_a_device_rules_out_is_left_out_with_the_reason(
    place: Place, tried: set[str], not_tried: set[str]
) -> None:
    found = words_of(place, Recipe(), "quick", None)
    assert tried <= {word.text for word in found if not word.why_not}
    assert not_tried <= {word.text for word in found if word.why_not}


def test_tf32_is_only_for_nvidia() -> None:
    left_out = {word.text: word.why_not for word in precisions_of(CPU) if word.why_not}
    assert left_out["tf32"] == "TF32 exists only on NVIDIA GPUs"


def test_the_words_that_lift_the_bottleneck_come_first() -> None:
    place = Place(kind="cuda", threads=8, cores=8, images=True, trains=True)
    first = {kind: words_of(place, Recipe(), "quick", kind)[0].text for kind in candidates.FIRST}
    assert first["launch"] == "graph"
    assert first["memory"] == first["compute"] == "channels_last"
    assert words_of(place, Recipe(workers=4), "quick", "input")[0].text == "workers:8"


@pytest.mark.parametrize(
    ("recipe", "word", "expected"),
    [
        ("fp32", "fused", "fp32+fused"),
        ("fp32+foreach", "fused", None),
        ("fp32+fused", "fused", None),
        ("fp32+contiguous", "channels_last", "fp32+channels_last"),
        ("fp32", "compile:reduce-overhead", None),
        ("fp32+compile", "compile:reduce-overhead", "fp32+compile:reduce-overhead"),
        ("fp32+compile+graph", "bf16", "bf16+compile+graph"),
        ("bf16", "fp16", "fp16"),
        ("fp32+workers:4", "workers:8", "fp32+workers:8"),
        ("fp32+workers:4", "pinned", "fp32+pinned+workers:4"),
        ("fp32", "pinned", "fp32+pinned"),
        ("fp32", "workers:2+persistent", "fp32+persistent+workers:2"),
        ("fp32+compile+graph", "compile:reduce-overhead", None),
        ("fp32", "threads:4", "fp32+threads:4"),
        ("fp32+threads:4", "threads:2", None),
    ],
)
def test_a_word_is_added_to_a_recipe(recipe: str, word: str, expected: str | None) -> None:
    changed = with_word(parse_recipe(recipe), word)
    assert (str(changed) if changed else None) == expected


def test_a_recipe_is_not_raced_twice() -> None:
    tried = [parse_recipe("fp32+fused")]
    found = [str(recipe) for _, recipe in combined(Recipe(), ["fused", "compile"], tried)]
    assert found == ["fp32+compile"]


def test_a_full_search_tries_other_modes_of_the_compiler() -> None:
    run, _ = searched(World(), plan_of(budget=600.0, tuning=Tuning(effort="full")))
    added = {event.word for event in run.events if isinstance(event, CandidateAdded)}
    assert "compile:max-autotune-no-cudagraphs" in added, "the leader is captured, so modes with graphs are not for it"
    assert {word.text for word in modes_of(CPU) if word.why_not} == {"compile:reduce-overhead", "compile:max-autotune"}


def test_what_is_left_out_is_recorded_once_also_by_a_resumed_search() -> None:
    world = World()
    world.interrupt_at = 60
    first, _ = searched(world)
    world.interrupt_at = 0
    second, _ = searched(world, earlier=first.events)
    left_out = [event.word for event in second.events if isinstance(event, LeftOut)]
    assert left_out
    assert len(left_out) == len(set(left_out))


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.2, 1.21, 1.2, 1.19), "faster"),
        ((1.005, 1.005, 1.005, 1.005), "tie"),
        ((0.9, 0.9, 0.91, 0.9), "slower"),
        ((1.2, 0.9, 1.4, 1.1), "open"),
        ((1.3,), "open"),
    ],
)
def test_a_race_is_decided_only_by_an_interval(ratios: tuple[float, ...], expected: str) -> None:
    assert standing(ratios) == expected


def curve(*, up: float = 0.0, **changes: object) -> Trajectory:
    losses = tuple(2.0 - 0.01 * step + up * step / 50 for step in range(50))
    return Trajectory(**{"losses": losses, "moved": 3, "parameters": 3} | changes)  # type: ignore[arg-type]  # by name


PLAIN_CURVES = (curve(), curve(up=0.02, seed=1), curve(up=-0.01, seed=2))


@pytest.mark.parametrize(
    ("trajectory", "words"),
    [
        (curve(), ""),
        (curve(up=0.03), ""),
        (curve(up=0.2), "its loss is off"),
        (curve(losses=(2.0, 1.9)), "not finite from step 3"),
        (curve(moved=2, still=("a.weight",)), "1 of 3 parameters do not change, such as a.weight"),
        (Trajectory(reason="crash: gone"), "could not be followed (crash: gone)"),
    ],
)
def test_a_trajectory_may_differ_as_much_as_plain_runs_do(trajectory: Trajectory, words: str) -> None:
    why = astray(trajectory, PLAIN_CURVES)
    assert words in why
    assert bool(words) == bool(why)


def test_trajectories_are_kept_with_what_was_changed() -> None:
    run, _ = searched(World())
    followed = [event for event in run.events if isinstance(event, TrajectoryFollowed) and event.cell == 0]
    assert [event.trajectory.seed for event in followed] == [0, 1, 2, 3, 4]


def test_time_that_is_left_goes_to_promising_races_that_are_undecided() -> None:
    """With slow steps, the first rounds of a race are too few for an interval that excludes 1."""
    world = World(lambda cell: 4.0 if "channels_last" not in words(cell.recipe) else 3.0, seed=2, noise=0.05)
    run, found = searched(world, plan_of(budget=900.0, device="cpu"))
    assert "channels_last" in winner(found)
    assert len(tally(run)[0].ratios(next(r.number for r in found.rungs if r.word == "channels_last"))) > LOOKS[0]


def test_on_a_cpu_a_compilation_does_not_take_the_time_of_the_other_words() -> None:
    run, _ = searched(World(), plan_of(device="cpu"))
    added = [event.word for event in run.events if isinstance(event, CandidateAdded) and event.over == 0]
    assert added.index("compile") > max(added.index(word) for word in ("channels_last", "fused", "foreach"))


def test_a_quick_search_ends_within_three_minutes_also_where_everything_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: processes take seconds to start, compilations half a minute, the code compiles once more."""
    monkeypatch.setattr("torchlap.measuring.context.cpu_threads", lambda: (2 * COMPILER_THREADS, "a test"))
    world = World()
    world.build_seconds, world.verify_seconds, world.code_seconds = 3.0, 8.0, 16.0
    world.compile_seconds, world.cached_seconds = 14.0, 7.0
    _, found = searched(world)
    assert world.now <= 190
    assert {"graph", "compile"} <= winner(found)
    assert {"bf16", "graph", "compile"} <= winner(found, "lower")
