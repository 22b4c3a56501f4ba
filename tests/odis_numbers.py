"""Numbers of the ODIS repository's own code, for networks and batches that a formula fills.

    python tests/odis_numbers.py CHECKOUT > tests/odis_numbers.json

CHECKOUT is a clone of github.com/LAMDA-RL/ODIS (commit 5f943fa); StarCraft II is not needed, its packages are
stood in for. Nothing of it is kept here but the numbers.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from golden_numbers import PARTS, PREFIXES
from torch import Tensor, nn

from hygen_lightning.specs import Episodes
from hygen_lightning.tasks import load_task

TASK = load_task("3m")
BATCH, STEPS = 2, 6
THEIRS = {
    **PREFIXES,
    "agent.state_encoder.query": "trajectory_encoder.attention.query",
    "agent.state_encoder.key": "trajectory_encoder.attention.key",
}
UPDET = {
    "agent.q_skill": "agent.head",
    "agent": "agent.entities",
    **{name: ours for name, ours in PREFIXES.items() if name.startswith("mixer.")},
}


def fill(module: nn.Module, name_of: Callable[[str], str]) -> None:
    """Give every parameter numbers that follow from `name_of` its name."""
    with torch.no_grad():
        for name, x in module.named_parameters():
            x.copy_(filling(x.shape, name_of(name)))


def filling(shape: Any, name: str) -> Tensor:
    """The numbers of a parameter of this name."""
    return wave(shape, zlib.crc32(name.encode()) % 1000) / math.sqrt(shape[-1])


def wave(shape: Any, start: float) -> Tensor:
    """Numbers between -1 and 1 without a pattern that a network could see."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return (torch.sin((index + start) * 12.9898) * 43758.5453).remainder(2).sub(1).float().reshape(shape)


def our_name(name: str, prefixes: Mapping[str, str]) -> str:
    """The repository's name of a parameter -> ours."""
    prefix = max((p for p in prefixes if name.startswith(p + ".")), key=len)
    rest = [PARTS.get(part, part) for part in name[len(prefix) + 1 :].split(".")]
    return ".".join([prefixes[prefix], *rest])


def episodes() -> Episodes:
    """Two made-up episodes of 3m, both as long as they are stored."""
    agents, layout = TASK.n_allies, TASK.layout
    actions = (
        (wave((BATCH, STEPS, agents), 5).add(1) * layout.n_actions / 2).long().clamp(0, layout.n_actions - 1)
    )
    avail = wave((BATCH, STEPS, agents, layout.n_actions), 6) > -0.3
    avail.scatter_(-1, actions[..., None], torch.ones_like(avail))
    terminated = torch.zeros(BATCH, STEPS, dtype=torch.bool)
    terminated[:, -2] = True
    state = wave((BATCH, STEPS, layout.state_dim), 2)
    last = torch.zeros(BATCH, STEPS, agents, layout.n_actions)
    last[:, 1:] = nn.functional.one_hot(actions[:, :-1], layout.n_actions).float()
    state[..., -agents * layout.n_actions :] = last.flatten(2)
    return Episodes(
        task=TASK,
        obs=wave((BATCH, STEPS, agents, layout.obs_dim), 1),
        state=state,
        actions=actions,
        avail_actions=avail,
        reward=wave((BATCH, STEPS), 3).abs(),
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        filled=torch.ones_like(terminated),
    )


# Their code


class Batch(dict[str, Tensor]):
    """What their learners take for an EpisodeBatch."""

    batch_size, max_seq_length, device = BATCH, STEPS, "cpu"


def batch_of(ours: Episodes) -> Batch:
    """Our episodes in their layout."""
    one_hot = nn.functional.one_hot(ours.actions, TASK.layout.n_actions).float()
    return Batch(
        obs=ours.obs,
        state=ours.state,
        actions=ours.actions[..., None],
        actions_onehot=one_hot,
        avail_actions=ours.avail_actions.int(),
        reward=ours.reward[..., None],
        terminated=ours.terminated[..., None],
        filled=ours.filled[..., None].float(),
    )


def stand_ins() -> None:
    """StarCraft's packages, as far as their imports go; the map's parameters are SMAC's of 3m."""
    for name in (
        "smac.env.multiagentenv",
        "smac.env",
        "smac",
        "pysc2.lib",
        "pysc2",
        "s2clientprotocol",
        "sacred",
    ):
        sys.modules[name] = MagicMock()
    maps = MagicMock()
    known = {"n_agents": 3, "n_enemies": 3, "limit": 60, "a_race": "T", "b_race": "T", "unit_type_bits": 0}
    maps.get_map_params = lambda name: {**known, "map_type": "marines"}
    sys.modules["smac.env.starcraft2.maps"] = sys.modules["smac.env.starcraft2"] = maps


def their_args(algorithm: str, **options: Any) -> SimpleNamespace:
    """Their defaults, as their configs of each algorithm have them."""
    shared = {
        "entity_embed_dim": 64,
        "attn_embed_dim": 8,
        "head": 1,
        "depth": 1,
        "id_length": 4,
        "max_agent": 15,
    }
    learner = {"optim_type": "adam", "lr": 5e-4, "critic_lr": 5e-4, "weight_decay": 0, "double_q": True}
    learner |= {
        "gamma": 0.99,
        "grad_norm_clip": 10,
        "target_update_interval": 10**9,
        "c_step": 1,
        "beta": 0.001,
    }
    mixing = {"mixing_embed_dim": 32, "hypernet_layers": 2, "hypernet_embed": 64}
    acting = {"action_selector": "epsilon_greedy", "epsilon_start": 1.0, "epsilon_finish": 0.05}
    acting |= {"epsilon_anneal_time": 1, "agent_output_type": "q", "device": "cpu", "coef_conservative": 5.0}
    skills = {"skill_dim": 3, "coef_dist": 5.0, "type_conservative": "norm"}
    return SimpleNamespace(agent=algorithm, **shared, **learner, **mixing, **acting, **skills, **options)


def their_learner(
    mac_kind: Any, learner_kind: Any, args: SimpleNamespace, prefixes: Mapping[str, str]
) -> Any:
    """Their controller and learner of 3m with filled networks, and the dict that their log goes into."""
    flags = ("obs_own_health", "obs_all_health", "state_last_action")
    off = ("obs_instead_of_state", "obs_last_action", "obs_pathing_grid", "obs_terrain_height")
    off += ("obs_timestep_number", "state_timestep_number")
    env_args = {"map_name": "3m", **dict.fromkeys(flags, True), **dict.fromkeys(off, False)}
    task_args = SimpleNamespace(env="sc2", env_args=env_args, n_agents=3, learner_log_interval=0)
    task_args.obs_last_action, task_args.obs_agent_id = True, True
    scheme = {"obs": {"vshape": TASK.layout.obs_dim}, "actions_onehot": {"vshape": (TASK.layout.n_actions,)}}
    mac = mac_kind(["3m"], {"3m": scheme}, {"3m": task_args}, args)
    told: dict[str, float] = {}
    logger = SimpleNamespace(log_stat=lambda name, value, t: told.update({name.rpartition("/")[2]: value}))
    learner = learner_kind(mac, logger, args)
    for part, whole in {"agent": mac.agent, "mixer": learner.mixer}.items():
        fill(whole, lambda p, part=part: our_name(f"{part}.{p}", prefixes))
    for part, whole in {"agent": learner.target_mac.agent, "mixer": learner.target_mixer}.items():
        fill(whole, lambda p, part=part: "target." + our_name(f"{part}.{p}", prefixes))
    return learner, told


def gradient_norm(learner: Any) -> float:
    """Of all parameters together."""
    grads = [p.grad.flatten() for p in learner.params if p.grad is not None]
    return float(torch.cat(grads).norm())


def main(checkout: Path) -> dict[str, dict[str, float]]:
    """What their learners log for the batch, and the norm of their gradients."""
    stand_ins()
    sys.path.insert(0, str(checkout / "src"))
    from controllers.multi_task.mt_odis_controller import ODISMAC
    from controllers.multi_task.mt_updet_controller import UPDeTMAC
    from learners.multi_task import odis_learner
    from learners.multi_task.updet_learner import UPDeTLearner

    odis_learner.F.gumbel_softmax = lambda logits, dim: logits.softmax(dim)
    found = {}
    for stage in ("vae", "policy"):
        args = their_args("mt_odis", mixer="mt_qattn")
        learner, told = their_learner(ODISMAC, odis_learner.ODISLearner, args, THEIRS)
        getattr(learner, f"train_{stage}")(batch_of(episodes()), 1, 0, "3m")
        found[f"odis_{stage}"] = {**told, "gradient_norm": gradient_norm(learner)}
    for letter, mixer in (("m", "mt_qattn"), ("l", "mt_vdn")):
        learner, told = their_learner(UPDeTMAC, UPDeTLearner, their_args("mt_updet", mixer=mixer), UPDET)
        learner.train_policy(batch_of(episodes()), 1, 0, "3m")
        found[f"updet_{letter}"] = told
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
