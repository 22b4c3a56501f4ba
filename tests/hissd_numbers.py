"""Numbers of the HiSSD repository's own code, for networks and batches that a formula fills.

    python tests/hissd_numbers.py CHECKOUT > tests/hissd_numbers.json

CHECKOUT is a clone of github.com/mooricAnna/HiSSD (commit 50a31bd); as with ODIS nothing of it is kept here
but the numbers. Where the code is not what it is named (docs/deviations.md) it is asked for what both agree
on: the expectile is 0.5, the advantage weighs nothing, and of the contrast one anchor is asked at a time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from odis_numbers import (
    STEPS,
    THEIRS,
    batch_of,
    episodes,
    filling,
    gradient_norm,
    stand_ins,
    their_args,
    their_learner,
)
from torch import Tensor

STEP, ANCHOR, POSITIVE, NEGATIVE = 2, 0, 1, 2
"""The step that is contrasted, and the agents; the last one's embeddings, of all steps, are the negatives."""
BETA = 0.05
KINDS = ("own", "enemy", "ally")
NAMES = {
    **{name: ours for name, ours in THEIRS.items() if name.startswith("mixer.")},
    **{
        f"agent.{part}.{kind}_value": f"{part}.tokens.{kind}"
        for part in ("planner", "decoder")
        for kind in KINDS
    },
    **{f"agent.{part}.transformer": f"{part}.history.transformer" for part in ("planner", "decoder")},
    **{f"agent.planner.act_{kind}_forward.net": f"planner.{kind}" for kind in KINDS},
    "agent.planner.rec_module.ally_dec_fc.net": "predictor.ally",
    "agent.planner.rec_module.enemy_dec_fc.net": "predictor.enemy",
    "agent.decoder.base_q_skill.net": "decoder.base",
    "agent.decoder.ally_q_skill.net": "decoder.target",
    "agent.discr.act_proj": "task_encoder.skill",
    "agent.discr.ssl_proj": "task_encoder.contrast",
    "agent.discr": "task_encoder",
    "agent.value.reward_fc": "value.head",
    "agent.value": "value.encoder.entities",
    "agent": "unread",
}
"""Their parts under our names."""
ATTENTION = {"enemy_qk": "views", "own_qk": "of_own", "enemy_ref_qk": "of_enemies"}
"""Their Linears whose first half of outputs are queries and whose second half are keys."""


def fill_the_rest(agent: Any, prefix: str) -> None:
    """The parameters that are not ours by a prefix."""
    rec = agent.planner.rec_module
    wholes = [(rec.enemy_hidden, ["predictor.memory"]), (agent.discr.W, ["task_encoder.similarity"])]
    for theirs, ours in ATTENTION.items():
        for kind, x in getattr(rec, theirs).named_parameters():
            wholes.append((x, [f"predictor.{ours}.{half}.{kind}" for half in ("query", "key")]))
    for x, names in wholes:
        parts = x.data.chunk(len(names))
        x.data.copy_(torch.cat([filling(part.shape, prefix + name) for part, name in zip(parts, names)]))


def contrast(learner: Any, batch: Any) -> Tensor:
    """Cross-entropy of each anchor's own positive among the negatives, a row at a time."""
    learner.mac.init_hidden(batch.batch_size, "3m")
    learner.target_mac.init_hidden(batch.batch_size, "3m")
    embedded = learner.mac.forward_discriminator(batch, STEP, "3m")[0]
    of_others = [learner.target_mac.forward_discriminator(batch, t, "3m")[0] for t in range(STEPS - 1)]
    negatives = torch.cat([x[:, NEGATIVE] for x in of_others])
    rows = []
    for anchor, positive in zip(embedded[:, ANCHOR], embedded[:, POSITIVE]):
        others = torch.cat([positive[None], negatives]).detach()
        rows.append(learner.mac.forward_contrastive(anchor[None], others))
    return torch.nn.functional.cross_entropy(torch.cat(rows), torch.zeros(len(rows), dtype=torch.long))


def main(checkout: Path) -> dict[str, float]:
    """What their learner says of the batch, and the norm of all its gradients together."""
    stand_ins()
    sys.path.insert(0, str(checkout / "src"))
    from controllers.multi_task.mt_hissd_controller import HISSDSMAC
    from learners.multi_task.hissd_learner import HISSDLearner

    args = their_args("mt_hissd", mixer="mt_qattn")
    vars(args).update(
        skill_dim=64, beta=BETA, coef_dist=5.0, coef_kl=0.1, code_dim=16, td_weight=0.0, epsilon=0.5
    )
    vars(args).update(ssl_type="moco", ssl_time_window=4, double_neg=True, adaptation=False)
    vars(args).update(vq_skill=False, num_stack_frames=1)
    learner, told = their_learner(HISSDSMAC, HISSDLearner, args, NAMES)
    learner.device = "cpu"
    fill_the_rest(learner.mac.agent, "")
    fill_the_rest(learner.target_mac.agent, "target.")
    batch = batch_of(episodes())
    cross_entropy, nothing = learner.train_vae(batch, 1, 0, "3m")
    contrasted = contrast(learner, batch)
    (BETA * contrasted).backward()
    value = learner.train_value(batch, 1, 0, "3m")
    learner.train_planner(batch, 1, 0, "3m", value, cross_entropy, ssl_loss=nothing)
    found = {"cross_entropy": cross_entropy, "contrastive_loss": contrasted, "value_loss": value}
    found["prediction_error"] = told["plan_loss"]
    return {name: float(torch.as_tensor(x).detach()) for name, x in found.items()} | {
        "gradient_norm": gradient_norm(learner)
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
