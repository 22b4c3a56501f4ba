"""The maps that the stand-in knows."""


def get_smac_map_registry() -> dict:
    return {"3m": {"n_agents": 3}, "8m": {"n_agents": 8}}
