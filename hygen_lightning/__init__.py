"""HyGen: one policy for many battles, learned from recordings and live play.

tasks       what a task is: the map table and the task sets
specs       the shared vocabulary: shape letters, TaskSpec, EntityLayout, Episodes
data        recorded episodes, replay of played ones, their mixing
envs        batched battles: the embedded simulator, StarCraft II
models      networks: tensors in, tensors out
losses      pure functions
policy      what a rollout knows of a model
rollouts    policy x environment -> episodes; evaluation; the Lightning callback
checkpoint  a checkpoint as a file: read whole, or one line that says what is wrong
algorithms  one LightningModule per file
report      statistics, tables, plots, battle pictures
cli         the commands: python -m hygen_lightning --help
"""

__version__ = "0.1.0"
