"""The maps that the stand-in knows."""


def get_smac_map_registry() -> dict:
    return {"3m": {"n_agents": 3}, "5m_vs_6m": {"n_agents": 5}, "8m": {"n_agents": 8}}
