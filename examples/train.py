"""HyGen from Python: a stock Lightning Trainer and our callbacks. Run it: python examples/train.py"""

from lightning.pytorch import Trainer

from hygen_lightning import BattleEvaluation, HybridDataModule, HyGen, OnlineRollouts, scripted_recordings


def train(steps: int = 500, episodes: int = 4000) -> Trainer:
    """Learn on 3m, evaluate on 3m and on 4m, which it never sees."""
    data = HybridDataModule(train_tasks=["3m"], eval_tasks=["3m", "4m"], quality="expert", share_end=0.5)
    data.dataset_dir = str(scripted_recordings(data.train_tasks, data.quality, episodes))
    model = HyGen(data.widths, pretrain_steps=steps * 3 // 5, beta=5.0, id_bits=0)
    rollouts = OnlineRollouts(every_n_steps=8, epsilon_begin=0.2, epsilon_steps=100)
    trainer = Trainer(max_steps=steps, callbacks=[rollouts, BattleEvaluation()], gradient_clip_val=10.0)
    trainer.fit(model, data)
    trainer.validate(model, data)
    return trainer


if __name__ == "__main__":
    train()
