"""The shared vocabulary: shape letters, tasks, layouts of flat vectors, batches of episodes.

Shape letters, used in every docstring of the package:

    B  episodes (or environments)            K  actions of a task (base actions + E targets)
    T  stored time steps, the last one       Z  skills
       has an observation but no reward      D  embedding width
    A  allies (agents)                       R  agent rows (B x A)
    E  enemies (or landmarks)

Importing this imports no torch: to read the table of tasks costs nothing.
"""

from hygen_lightning.specs.chunk_plan import ChunkPlan
from hygen_lightning.specs.complaints import RunError, UserError, check_is_file
from hygen_lightning.specs.episodes import (
    EPISODE_TENSORS,
    BattleRequest,
    Chunk,
    DataStatistics,
    Episodes,
    HybridBatch,
    Observation,
    OnPolicyEpisodes,
    TensorStruct,
    TimeStep,
    map_tree,
    zero_outside,
)
from hygen_lightning.specs.layout import EntityLayout, EntityWidths, Piece, Span
from hygen_lightning.specs.task import Look, Side, TaskSpec

__all__ = [
    "EPISODE_TENSORS",
    "BattleRequest",
    "Chunk",
    "ChunkPlan",
    "DataStatistics",
    "EntityLayout",
    "EntityWidths",
    "Episodes",
    "HybridBatch",
    "Look",
    "Observation",
    "OnPolicyEpisodes",
    "Piece",
    "RunError",
    "Side",
    "Span",
    "TaskSpec",
    "TensorStruct",
    "TimeStep",
    "UserError",
    "check_is_file",
    "map_tree",
    "zero_outside",
]
