"""SMAX: its numbers are JaxMARL's own, whatever the batch. Without JaxMARL, only what needs none of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from arenas import random_actions
from tiny_runs import the_run, tiny_fit
from torch import Tensor

from hygen_lightning.checkpoint import read_checkpoint
from hygen_lightning.cli import main
from hygen_lightning.envs import make_env, smax
from hygen_lightning.envs.smax import BLOCK, ConcentratedFire, SmaxEnv
from hygen_lightning.rollouts.runner import play
from hygen_lightning.specs import Observation, UserError
from hygen_lightning.tasks import SmaxTask, load_task
from hygen_lightning.tasks.smax import BASE_ACTIONS, PREFIX, STOP, UNIT_TYPES, smax_names

TESTS = Path(__file__).parent.parent
FIELDS = ("obs", "state", "avail_actions")
ABSENT = "JaxMARL is not installed (pip install 'hygen_lightning[smax]')"


@pytest.fixture(scope="module")
def jaxmarl() -> Any:
    """JaxMARL's module of SMAX."""
    pytest.importorskip("jaxmarl", reason=ABSENT)
    return smax._smax()


# With JaxMARL


def test_tasks_are_all_maps_of_jaxmarl_with_its_units(jaxmarl: Any) -> None:
    from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO

    assert [PREFIX + name for name in MAP_NAME_TO_SCENARIO] == sorted(
        smax_names(), key=[PREFIX + name for name in MAP_NAME_TO_SCENARIO].index
    )
    for name, scenario in MAP_NAME_TO_SCENARIO.items():
        task = load_task(PREFIX + name)
        assert isinstance(task, SmaxTask)
        assert (task.n_allies, task.n_enemies) == (scenario.num_allies, scenario.num_enemies)
        units = [UNIT_TYPES[k] for k in scenario.unit_types.tolist()]
        drawn = scenario.smacv2_unit_type_generation
        assert scenario.smacv2_position_generation == drawn
        assert [*task.ally_units, *task.enemy_units] == ([] if drawn else units)
    game = jaxmarl.HeuristicEnemySMAX()
    assert tuple(game.unit_type_names) == UNIT_TYPES
    assert game.num_movement_actions == len(BASE_ACTIONS)
    assert game.max_steps + 1 == load_task("smax-3m").episode_limit_env_steps


def test_every_step_of_a_battle_is_that_of_jaxmarl(jaxmarl: Any) -> None:
    """Each step once more by JaxMARL, one battle alone, from the same state with the same key and orders."""
    import jax

    env = SmaxEnv(load_task("smax-2s3z"), 2)
    game = jaxmarl.HeuristicEnemySMAX(scenario=jaxmarl.map_name_to_scenario("2s3z"))
    shown, generator, over = env.reset(torch.tensor([3, 5])), torch.Generator().manual_seed(0), False
    while not over:
        before = jax.tree.map(lambda x: x[1], env._blocks[0])
        _, now = jax.random.split(jax.random.wrap_key_data(before["key"]))
        actions = random_actions(shown.avail_actions, generator)
        step = env.step(actions)
        orders = dict(zip(game.agents, actions[1].numpy()))
        seen, state, rewards, dones, _ = game.step_env(now, before["state"], orders)
        shown, over = step.observation, bool(dones["__all__"])
        assert_shows(shown, seen, game, state)
        assert float(step.reward[1]) == pytest.approx(float(rewards["ally_0"]), abs=1e-6)
        assert bool(step.terminated[1]) == over
        assert int(env.clock[1]) == int(state.state.step)


def assert_shows(shown: Observation, seen: dict[str, Any], game: Any, state: Any) -> None:
    """The second battle is what JaxMARL shows of its own."""
    for i, agent in enumerate(game.agents):
        assert torch.allclose(shown.obs[1, i], tensor(seen[agent]), atol=1e-5)
        assert torch.equal(shown.avail_actions[1, i], tensor(game.get_avail_actions(state)[agent]) > 0)
    ours = shown.state[1].unflatten(0, (game.num_agents + game.num_enemies, -1))
    world = tensor(seen["world_state"])[: ours.numel()].view_as(ours)
    assert torch.allclose(ours[:, 0], world[:, 0], atol=1e-5)
    assert torch.allclose(ours[:, 1:3] * 32, world[:, 1:3], atol=1e-4)
    assert torch.equal(ours[:, 4:], world[:, 4:])


def tensor(x: Any) -> Tensor:
    return torch.tensor(x.tolist())


@pytest.mark.parametrize("name", ["smax-3m", "smax-2s3z", "smax-smacv2_5_units"])
def test_a_battle_is_the_same_bit_for_bit_whatever_is_played_beside_it(jaxmarl: Any, name: str) -> None:
    task, seeds = load_task(name), torch.arange(2 * BLOCK + 5) + 2**40
    whole = play(SmaxEnv(task, len(seeds)), ConcentratedFire(), seeds).episodes
    shuffled = torch.randperm(len(seeds), generator=torch.Generator().manual_seed(0))
    others = play(SmaxEnv(task, len(seeds)), ConcentratedFire(), seeds[shuffled]).episodes
    few = play(SmaxEnv(task, 3), ConcentratedFire(), seeds[[7, 40, 66]]).episodes
    for field in FIELDS:
        played = getattr(whole, field)
        assert torch.equal(played[shuffled], getattr(others, field))
        here = getattr(few, field)
        assert torch.equal(played[[7, 40, 66], : here.shape[1]], here)


def test_seeds_differ_in_all_their_bits(jaxmarl: Any) -> None:
    seeds = torch.tensor([0, 1, 2**32, 2**33, -1])
    first = SmaxEnv(load_task("smax-3m"), len(seeds)).reset(seeds).state
    assert len({tuple(row) for row in first.tolist()}) == len(seeds)


def test_the_reward_is_the_damage_and_one_for_a_victory(jaxmarl: Any) -> None:
    played = play(SmaxEnv(load_task("smax-3m"), 64), ConcentratedFire(), torch.arange(64))
    assert 0 < played.success.sum() < 64
    damage = 1 - played.episodes.task.sides(played.episodes.final_state)[1].health.mean(-1)
    assert torch.allclose(played.returns.float(), damage + played.success.float(), atol=1e-4)
    assert torch.equal(played.success, played.episodes.task.success(played.episodes))


def test_the_limit_truncates_a_battle_in_which_both_sides_live(jaxmarl: Any) -> None:
    env = SmaxEnv(load_task("smax-3m"), 4)
    env.reset(torch.arange(4))
    game_state = env._blocks[0]["state"]
    late = game_state.replace(state=game_state.state.replace(step=game_state.state.step + 100))
    env._blocks[0] = {**env._blocks[0], "state": late}
    step = env.step(torch.full((4, 3), STOP))
    assert step.terminated.tolist() == step.truncated.tolist() == [True] * 4
    assert not step.success.any()
    assert env.clock.tolist() == [env.task.episode_limit_env_steps] * 4


def test_saved_battles_go_on_after_they_were_written_and_read(jaxmarl: Any, tmp_path: Path) -> None:
    env = SmaxEnv(load_task("smax-3m"), BLOCK + 1)
    env.reset(torch.arange(BLOCK + 1))
    torch.save(env.state_dict(), tmp_path / "battles.pt")
    stay = torch.full((BLOCK + 1, 3), STOP)
    later = [env.step(stay).observation.state for _ in range(12)]
    other = SmaxEnv(env.task, BLOCK + 1)
    other.load_state_dict(torch.load(tmp_path / "battles.pt", weights_only=True))
    assert all(torch.equal(x, other.step(stay).observation.state) for x in later)


def test_jaxmarl_is_imported_quietly_and_leaves_the_streams_alone(jaxmarl: Any) -> None:
    code = """
import io, sys
from hygen_lightning.envs import smax
out, err = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
smax._smax()
assert sys.stdout is out and sys.stderr is err
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "submodule" not in done.stdout + done.stderr


@pytest.mark.slow
def test_collect_fit_validate_and_render_play_it_and_no_command_names_it(
    jaxmarl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chosen = ["--data.train_tasks", "[smax-3m]", "--data.eval_tasks", "[smax-3m,smax-5m_vs_6m]"]
    assert main(tiny_fit(tmp_path, *chosen)) == 0, capsys.readouterr().err
    checkpoint = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    assert read_checkpoint(checkpoint)["environment"] == "smax"
    assert main(["validate", "--ckpt_path", str(checkpoint), "--run.root", str(tmp_path / "again")]) == 0
    collect = ["collect", "--task", "smax-3m", "--policy", str(checkpoint), "--episodes", "4"]
    assert main([*collect, "--out", str(tmp_path / "recorded")]) == 0, capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "recorded")]) == 0, capsys.readouterr().err
    picture = tmp_path / "battle.png"
    assert main(["render", "--task", "smax-3m", "--policy", str(checkpoint), "--out", str(picture)]) == 0
    assert picture.stat().st_size > 0


@pytest.mark.slow
def test_its_config_trains_and_ends_with_a_table(
    jaxmarl: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"num_envs": 4, "chunk_env_steps": 4, "epochs": 1, "minibatches": 1}
    words = ["fit", "--config", "conf/worlds/smax.yaml", "--run.root", str(tmp_path / "runs")]
    for name, value in small.items():
        words += [f"--model.init_args.{name}", str(value)]
    words += ["--data.eval_episodes", "2", "--data.test_episodes", "2"]
    words += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main([*words, "--trainer.enable_progress_bar", "false"]) == 0, capsys.readouterr().err
    table = capsys.readouterr().out
    for name in ("smax-3m", "smax-5m_vs_6m", "smax-8m", "smax-10m_vs_11m"):
        assert name in table


# Without JaxMARL


@pytest.mark.parametrize(("version", "told"), [("", "missing"), ("0.1.0", "0.1.0")])
def test_without_jaxmarl_or_with_an_old_one_the_line_says_so(
    monkeypatch: pytest.MonkeyPatch, version: str, told: str
) -> None:
    monkeypatch.setattr(smax, "_jaxmarl_version", lambda: version)
    (check,) = SmaxEnv.checks([])
    assert (check.ok, check.found) == (False, told)
    assert check.remedy.endswith("-m pip install 'jaxmarl>=0.2'")
    with pytest.raises(UserError, match=rf"JaxMARL 0.2 or newer: {told}; .*doctor") as error:
        make_env("smax", "smax-3m", 1)
    assert "\n" not in str(error.value)


def test_the_extra_asks_for_the_version_that_the_check_wants() -> None:
    text = (TESTS.parent / "setup.cfg").read_text(encoding="utf-8")
    assert f"jaxmarl>={'.'.join(map(str, smax.OLDEST))}\n" in text.split("smax =", 1)[1]


def test_other_tasks_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="3m is no battle of SMAX"):
        SmaxEnv(load_task("3m"), 1)
    with pytest.raises(UserError, match="3m is no battle of SMAX"):
        ConcentratedFire().initial_hidden(load_task("3m"), 1)


def test_the_teacher_shoots_whom_most_reach_then_the_weakest_and_meets_the_nearest() -> None:
    """Ally 0 reaches enemies 0 and 1, ally 1 all but 0, ally 2 none: it stands south of enemy 2."""
    task = load_task("smax-3m")
    marine = [1.0, *[0.0] * 5]
    places = [(0.4, 0.5), (0.4, 0.6), (0.6, 0.2), (0.5, 0.5), (0.5, 0.55), (0.6, 0.5)]
    healths = [1, 1, 1, 0.2, 0.9, 0.8]
    state = torch.tensor([[x for (a, b), h in zip(places, healths) for x in (h, a, b, 0, *marine)]])
    can = torch.ones(1, 3, task.layout.n_actions, dtype=torch.bool)
    can[0, :, len(BASE_ACTIONS) :] = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).bool()
    obs = torch.zeros(1, 3, task.layout.obs_dim)
    nothing = torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1)
    chosen = ConcentratedFire().act(task, Observation(obs, state, can), *nothing, None).actions[0]
    assert chosen.tolist() == [6, 6, BASE_ACTIONS.index("north")]
