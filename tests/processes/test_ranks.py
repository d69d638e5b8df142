"""Ranks in processes of their own: what they measure together, how each kind of failure is reported, and that none is
left behind.
"""

import re
import socket
from collections.abc import Iterator
from itertools import count

import psutil
import pytest
from support import PATIENCE_SECONDS, ROOT, has_ended, own

from torchlap.processes.failures import CellFailedError
from torchlap.processes.ranks import RankLauncher, World
from torchlap.processes.torchrun import Hosts, cannot_meet, follow
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.replies import AllReduced, Built, LapsDone, Prepared, RanksChecked, RanksDescribed
from torchlap.schema.requests import AllReduce, Build, CheckRanks, DescribeRanks, RunLaps, WarmUp
from torchlap.schema.workload import Cell, Workload

SHORT_SECONDS = 6.0
"""A hang limit: longer than what the models do, and than importing torch takes where another rank reports it."""

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _this_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def launchers() -> Iterator[list[RankLauncher]]:
    """Launchers to close at the end."""
    made: list[RankLauncher] = []
    yield made
    for each in made:
        each.close()


def build_of(function: str, recipe: str = "fp32", ranks: int = 2, slot: int = 0) -> Build:
    cell = Cell(
        Workload(own(function, "ranks.py"), 4),
        parse_recipe(recipe, of_ranks=True),
        f"{ranks} x cpu" if ranks > 1 else "cpu",
    )
    return Build(slot=slot, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")


def started(launchers: list[RankLauncher], ranks: int = 2) -> World:
    launchers.append(RankLauncher(ranks, "cpu"))
    return launchers[-1].start()


def prepared(world: World, function: str, recipe: str = "fp32", ranks: int = 2) -> None:
    world.ask(build_of(function, recipe, ranks), Built, PATIENCE_SECONDS)
    world.ask(WarmUp(slot=0, limit_seconds=0.2), Prepared, PATIENCE_SECONDS)


def failure(world: World, function: str, limit_seconds: float = PATIENCE_SECONDS) -> CellFailedError:
    """How laps fail of a model that works while it warms up; no process is left."""
    prepared(world, function)
    processes = [process.pid for process in psutil.Process(world.pid).children(recursive=True)] + [world.pid]
    with pytest.raises(CellFailedError) as caught:
        all(world.ask(RunLaps(slot=0, steps=10, lead_in=0), LapsDone, limit_seconds) for _ in count())
    assert len(processes) > 2
    assert all(map(has_ended, processes))
    return caught.value


def test_two_ranks_lap_together_and_agree_with_one_device(launchers: list[RankLauncher]) -> None:
    world = started(launchers)
    prepared(world, "plain")
    done = world.ask(RunLaps(slot=0, steps=5, lead_in=1, laps=2), LapsDone, PATIENCE_SECONDS)
    assert [lap.items for lap in done.laps] == [2 * 4 * 5] * 2
    assert all(lap.seconds == max(lap.rank_seconds) and len(lap.rank_seconds) == 2 for lap in done.laps)
    ranks = world.ask(DescribeRanks(0), RanksDescribed, PATIENCE_SECONDS).ranks
    assert [(rank.rank, rank.backend, rank.device) for rank in ranks] == [(0, "gloo", "cpu"), (1, "gloo", "cpu")]
    assert {rank.gradient_bytes for rank in ranks} == {4 * (4 * 10 + 10)}
    link = world.ask(AllReduce(slot=0, limit_seconds=1.0), AllReduced, PATIENCE_SECONDS).link
    assert (link.ranks, link.bytes) == (2, 200)
    assert len(link.laps) >= 2
    numerics = world.ask(CheckRanks(build=build_of("plain")), RanksChecked, PATIENCE_SECONDS).numerics
    assert numerics.gradient_error < 1e-6
    assert numerics.whole_error is not None
    assert numerics.whole_error < 1e-5
    assert numerics.differing == ()
    assert numerics.steps == 20


def test_four_ranks_have_the_gradients_of_one_device(launchers: list[RankLauncher]) -> None:
    world = started(launchers, 4)
    numerics = world.ask(CheckRanks(build=build_of("plain", ranks=4)), RanksChecked, PATIENCE_SECONDS).numerics
    assert numerics.gradient_error < 1e-5
    assert numerics.differing == ()


@pytest.mark.parametrize("recipe", ["fp32+shard", "fp32+accumulate:3", "fp32+accumulate:2+static_graph+bucket:1"])
def test_every_way_to_share_a_model_has_the_gradients_of_one_device(launchers: list[RankLauncher], recipe: str) -> None:
    world = started(launchers)
    prepared(world, "plain", recipe)
    (lap,) = world.ask(RunLaps(slot=0, steps=2, lead_in=0), LapsDone, PATIENCE_SECONDS).laps
    accumulated = re.search(r"accumulate:(\d)", recipe)
    assert lap.items == 2 * 4 * 2 * int(accumulated[1] if accumulated else 1)
    numerics = world.ask(CheckRanks(build=build_of("plain", recipe)), RanksChecked, PATIENCE_SECONDS).numerics
    assert numerics.gradient_error < 1e-6
    assert numerics.differing == ()
    assert numerics.sharded == ("shard" in recipe)


def test_gradients_that_are_not_synchronized_are_found(launchers: list[RankLauncher]) -> None:
    world = started(launchers)
    check = CheckRanks(build=build_of("not_synchronized"))
    numerics = world.ask(check, RanksChecked, PATIENCE_SECONDS).numerics
    assert numerics.gradient_error > 0.1
    assert "layer.weight" in numerics.differing


def test_a_loss_that_is_a_sum_is_found(launchers: list[RankLauncher]) -> None:
    numerics = started(launchers).ask(CheckRanks(build=build_of("summed")), RanksChecked, PATIENCE_SECONDS).numerics
    assert numerics.gradient_error < 1e-6
    assert numerics.whole_error == pytest.approx(0.5, rel=1e-3)


def test_a_loader_is_divided_between_ranks(launchers: list[RankLauncher]) -> None:
    world = started(launchers)
    prepared(world, "loaded")
    (lap,) = world.ask(RunLaps(slot=0, steps=4, lead_in=0), LapsDone, PATIENCE_SECONDS).laps
    assert lap.items == 2 * 4 * 4


def test_a_rank_that_is_killed_is_named(launchers: list[RankLauncher]) -> None:
    caught = failure(started(launchers), "killed")
    assert (caught.kind, str(caught)) == ("crash", "Rank 1 was killed by SIGKILL (running laps).")


def test_a_rank_that_hangs_is_reported_with_its_stack(launchers: list[RankLauncher]) -> None:
    caught = failure(started(launchers), "hangs", SHORT_SECONDS)
    assert caught.kind == "hang"
    assert str(caught) == "Ranks 0, 1 gave no answer for 6 s (running laps)."
    assert "ranks.py" in caught.detail


def test_a_rank_that_runs_out_of_memory_is_named(launchers: list[RankLauncher]) -> None:
    caught = failure(started(launchers), "runs_out_of_memory")
    assert caught.kind == "out_of_memory"
    assert str(caught).startswith("Rank 1: ")


def test_a_rank_that_starts_late_is_waited_for(launchers: list[RankLauncher]) -> None:
    prepared(started(launchers), "late")


def test_a_rank_that_starts_too_late_is_reported(launchers: list[RankLauncher]) -> None:
    with pytest.raises(CellFailedError, match=r"did not start for 0 s .* raise --hang-limit") as caught:
        started(launchers).ask(build_of("plain"), Built, 0.3)
    assert caught.value.kind == "hang"


def test_parameters_without_gradients_are_refused_in_one_sentence(launchers: list[RankLauncher]) -> None:
    with pytest.raises(CellFailedError, match="Some parameters get no gradient, which DDP does not allow"):
        prepared(started(launchers), "unused")


def test_a_training_step_of_ones_own_is_refused(launchers: list[RankLauncher]) -> None:
    with pytest.raises(CellFailedError, match="A training step of your own cannot be scaled"):
        prepared(started(launchers), "own_step")


def test_a_stranger_is_not_let_in(launchers: list[RankLauncher]) -> None:
    world = started(launchers)
    place = world._listener.getsockname()
    with socket.create_connection(place) as stranger:
        stranger.sendall(b'{"token":"guessed","rank":1,"world_size":2,"pid":1,"host":"x"}\n')
        assert stranger.recv(1) == b""
    prepared(world, "plain")


def test_a_host_that_nobody_answers_is_reported_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hosts = Hosts(2, 1, f"127.0.0.1:{port}", "a-test", 3.0)
    reason = follow(1, "cpu", hosts)
    assert reason.startswith("The ranks could not meet: ")
    assert "firewall" in reason


def test_an_endpoint_that_is_taken_is_reported() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CellFailedError, match=f"The judge cannot listen on port {port}"):
            RankLauncher(1, "cpu", Hosts(2, 0, f"127.0.0.1:{port - 1}")).start()


def test_known_reports_of_the_launcher_have_a_remedy() -> None:
    assert "already in use" in cannot_meet("RuntimeError: EADDRINUSE")
    assert "not every host came" in cannot_meet("RendezvousTimeoutError")
    assert "by itself" in cannot_meet("something else")
