"""The published code's weights under our names, and its batches as ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hygen_lightning.models.hygen_network import HyGenNetwork
from hygen_lightning.specs import Episodes, TaskSpec
from hygen_lightning.tasks import load_task

PREFIXES = {
    "agent.q.q_skill": "q_head",
    "agent.encoder.q_skill": "skill_head",
    "agent.state_encoder.ally_encoder": "trajectory_encoder.tokens.ally",
    "agent.state_encoder.enemy_encoder": "trajectory_encoder.tokens.enemy",
    "agent.state_encoder.attention": "trajectory_encoder.attention",
    "agent.obs_encoder": "observation_encoder.entities",
    "agent.decoder.skill_enc": "action_decoder.skill",
    "agent.decoder.q_skill": "action_decoder.head",
    "agent.decoder": "action_decoder.entities",
    "mixer.ally_encoder": "mixer.tokens.ally",
    "mixer.enemy_encoder": "mixer.tokens.enemy",
    "mixer.query": "mixer.attention.query",
    "mixer.key": "mixer.attention.key",
    "mixer.hyper_w_1": "mixer.agent_weights",
    "mixer.hyper_w_final": "mixer.out_weights",
    "mixer.hyper_b_1": "mixer.bias",
    "mixer.V": "mixer.value",
}
PARTS = {
    "ally_value": "tokens.ally",
    "enemy_value": "tokens.enemy",
    "own_value": "tokens.own",
    "tblocks": "blocks",
    "toprobs": "out",
    "tokeys": "key",
    "toqueries": "query",
    "tovalues": "value",
    "unifyheads": "out",
}
UNUSED = ("agent.state_encoder.query", "agent.state_encoder.key")
"""Parameters of the published code that its default configuration never reads."""


def our_name(name: str) -> str | None:
    """The published code's parameter name -> ours; None for one it never uses."""
    if name.startswith(UNUSED):
        return None
    prefix = max((p for p in PREFIXES if name.startswith(p + ".")), key=len)
    rest = [PARTS.get(part, part) for part in name[len(prefix) + 1 :].split(".")]
    return ".".join([PREFIXES[prefix], *rest])


def golden_files(folder: Path) -> Iterator[Path]:
    """Every <family>/<map>.npz that has weights beside it."""
    for path in sorted(folder.glob("*/*.npz")):
        if path.stem != "weights" and path.with_name("weights.npz").is_file():
            yield path


@dataclass
class Golden:
    """One golden file: its task, batch, HyGen's options of size, networks and numbers."""

    task: TaskSpec
    batch: Episodes
    sizes: dict[str, int]
    online: HyGenNetwork
    target: HyGenNetwork
    out: dict[str, Tensor]
    grad_norm: dict[str, float]


def load_golden(path: Path) -> Golden:
    """Read `<family>/<map>.npz` and the family's weights; all sizes follow from the weights."""
    with np.load(path) as file, np.load(path.with_name("weights.npz")) as weights:
        task = load_task(path.stem)
        tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        arrays = {name: torch.from_numpy(weights[name]) for name in weights.files}
    names = {name[len("grad_norm/") :]: float(x) for name, x in tensors.items() if name[0] == "g"}
    return Golden(
        task,
        _episodes(task, {k[len("batch/") :]: x for k, x in tensors.items() if k.startswith("batch/")}),
        _sizes(task, _state(arrays, "online/")),
        _network(task, arrays, "online/"),
        _network(task, arrays, "target/"),
        {k[len("out/") :]: x for k, x in tensors.items() if k.startswith("out/")},
        {ours: norm for theirs, norm in names.items() if (ours := our_name(theirs))},
    )


def _episodes(task: TaskSpec, batch: dict[str, Tensor]) -> Episodes:
    terminated = batch["terminated"][..., 0].bool()
    return Episodes(
        task=task,
        obs=batch["obs"],
        state=batch["state"],
        actions=batch["actions"][..., 0],
        avail_actions=batch["avail_actions"].bool(),
        reward=batch["reward"][..., 0],
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        filled=batch["filled"][..., 0].bool(),
    )


def _state(arrays: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The arrays of one of their networks under our names."""
    theirs = {name[len(prefix) :]: x for name, x in arrays.items() if name.startswith(prefix)}
    return {ours: x for name, x in theirs.items() if (ours := our_name(name))}


def _sizes(task: TaskSpec, state: dict[str, Tensor]) -> dict[str, int]:
    """The options of HyGen that the sizes of these weights follow from."""
    widths = task.layout.widths
    n_skills, width = state["q_head.weight"].shape
    entity = "observation_encoder.entities.transformer"
    own_width = state["observation_encoder.entities.tokens.own.weight"].shape[1]
    return {
        "n_skills": n_skills,
        "width": width,
        "n_heads": state[f"{entity}.blocks.0.attention.query.weight"].shape[0] // width,
        "depth": len({name.split(".")[4] for name in state if name.startswith(f"{entity}.blocks.")}),
        "id_bits": own_width - widths.own - widths.compact_action,
    }


def _network(task: TaskSpec, arrays: dict[str, Tensor], prefix: str) -> HyGenNetwork:
    """A network of the sizes that the arrays have, with their numbers."""
    state = _state(arrays, prefix)
    network = HyGenNetwork(task.layout.widths, **_sizes(task, state))
    network.load_state_dict(state)
    return network
