"""What a task is: the map table, the task sets, the win rates of the published data sets."""

from hygen_lightning.tasks.battles import BattleTask
from hygen_lightning.tasks.maps import all_task_names, battle_task, load_task, marine_task, terrain_levels
from hygen_lightning.tasks.navigation import NavigationTask
from hygen_lightning.tasks.sets import DATA_WIN_RATES, TASK_SETS, TaskSet, data_win_rate

__all__ = [
    "DATA_WIN_RATES",
    "TASK_SETS",
    "BattleTask",
    "NavigationTask",
    "TaskSet",
    "all_task_names",
    "battle_task",
    "data_win_rate",
    "load_task",
    "marine_task",
    "terrain_levels",
]
