"""Environment steps per second of JaxMARL's SMAX. Run by an interpreter that has jaxmarl:

    python smax_speed.py MAP SECONDS BATCH [BATCH ...]

prints one JSON object: the best of the batches. `benchmark simulator --against smax` runs it; that
interpreter need not have this package, so nothing of it is imported here.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

STEPS_PER_CALL = 32
"""Environment steps inside one compiled call."""


def measure(map_name: str, batch: int, seconds: float) -> float:
    """Environment steps per second with random available actions; battles restart when over.

    All units of both sides play at random: on CPU, SMAX's own enemy players cost it ten times this
    speed, and the faster of its environments is the fairer yardstick.
    """
    import jax
    from jaxmarl import make
    from jaxmarl.environments.smax import map_name_to_scenario

    env = make("SMAX", scenario=map_name_to_scenario(map_name))

    def choose(key: Any, available: Any) -> Any:
        widest = max(row.shape[-1] for row in available.values())
        draws = jax.random.uniform(key, (len(env.agents), widest))
        return {
            agent: (draw[: available[agent].shape[-1]] * (available[agent] > 0)).argmax()
            for agent, draw in zip(env.agents, draws)
        }

    def one(state: Any, key: Any) -> Any:
        act, step = jax.random.split(key)
        actions = choose(act, env.get_avail_actions(state))
        obs, state, reward, _, _ = env.step(step, state, actions)
        seen = sum(x.sum() for x in obs.values()) + sum(reward.values())
        return state, seen  # observations are used, so that nothing is optimised away

    def many(states: Any, key: Any) -> Any:
        keys = jax.random.split(key, STEPS_PER_CALL * batch).reshape(STEPS_PER_CALL, batch, -1)
        return jax.lax.scan(jax.vmap(one), states, keys)

    advance = jax.jit(many)
    _, states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), batch))
    states, seen = advance(states, jax.random.PRNGKey(1))
    seen.block_until_ready()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        states, seen = advance(states, jax.random.PRNGKey(2 + calls))
        seen.block_until_ready()
        calls += 1
    return calls * STEPS_PER_CALL * batch / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    map_name, seconds, batches = arguments[0], float(arguments[1]), [int(b) for b in arguments[2:]]
    speeds = {batch: measure(map_name, batch, seconds) for batch in batches}
    best = max(speeds, key=lambda batch: speeds[batch])
    print(json.dumps({"env_steps_per_s": speeds[best], "batch": best}))


if __name__ == "__main__":
    main(sys.argv[1:])
