"""One game of StarCraft II, a program of its own: the only file that imports `smac`.

It runs under any interpreter that has numpy and SMAC's package, whatever that of the trainer is, and needs
nothing else of this project. On its standard input and output lie frames: the bytes of a header and of the
arrays behind it (two big-endian uint32), the header (JSON), the arrays. A request {"do", ...} has one
answer: {"done": value, "arrays": [[name, dtype, shape], ...]}, {"not started": why} or {"failed": traceback}.

It ends when it is told to, or when the trainer is gone: the end of its input says so. Where the game does not
let it end within GRACE_S, it kills its process group, and the game with it. Signals are the trainer's affair:
it ends its step first and then closes its games.
"""

import importlib.metadata
import importlib.util
import json
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from importlib.machinery import PathFinder
from typing import Any

GRACE_S = 15.0
"""Seconds that a game has to end itself."""
STARTS = 2
"""Attempts to start a battle before giving up."""
NOT_STARTED = {"SC2LaunchError", "NoMapError", "ValueError", "RuntimeError", "ImportError", "OSError"}
"""Errors of a start that mean that StarCraft II, a map or a package is not where it is expected."""


class NotStartedError(Exception):
    """StarCraft II, SMAC's package or the map cannot be started; one line says why."""


def write_frame(stream, header, arrays=()):
    """arrays: (name, numpy array) pairs."""
    header = dict(header, arrays=[[name, x.dtype.str, x.shape] for name, x in arrays])
    text = json.dumps(header).encode()
    parts = [x.tobytes() for _, x in arrays]
    stream.write(struct.pack(">II", len(text), sum(map(len, parts))) + text + b"".join(parts))
    stream.flush()


def read_frame(stream):
    """(header, bytes of the arrays), or None at the end of the stream."""
    sizes = stream.read(8)
    if len(sizes) < 8:
        return None
    text, payload = (stream.read(size) for size in struct.unpack(">II", sizes))
    return json.loads(text), payload


class Battles:
    """One battle after another in one game. Every request names the map: {"map", "params", "replays"}."""

    def __init__(self):
        self.env: Any = None
        self.map_name, self.ended = None, True

    def probe(self, request):
        """What this interpreter has; with "imports", whether SMAC's package can really be imported."""
        package = importlib.util.find_spec("smac")  # not imported: SMAC3, of the same name, is slow to import
        places = list(package.submodule_search_locations or ()) if package else []
        facts = {"python": sys.version.split()[0], "protobuf": _version("protobuf")}
        facts["package"] = package and str(package.origin or places)
        facts["starcraft"] = bool(places) and PathFinder.find_spec("env", places) is not None
        facts["numpy"] = _version("numpy")
        if request.get("imports") and facts["starcraft"]:
            try:
                from smac.env import StarCraft2Env  # noqa: F401
            except Exception as error:
                facts["error"] = " ".join(f"{type(error).__name__}: {error}".split())
        return facts, ()

    def sizes(self, request):
        """SMAC's `get_env_info` of the map, without starting the game."""
        info = _new(request, None).get_env_info()
        return {name: int(info[name]) for name in info if isinstance(info[name], int)}, ()

    def reset(self, request):
        """Start a battle. StarCraft II takes a seed only when it starts."""
        if not self.ended or request["map"] != self.map_name:
            self.close()  # SMAC's reward scale is wrong after a battle that did not end
        self.ended, self.map_name, reason = False, request["map"], "it stops answering"
        for _ in range(STARTS):
            try:
                self.env = self.env or _new(request, request["seed"])
                restarts = self.env.force_restarts
                self.env.reset()
                if self.env.force_restarts == restarts:
                    return None, self._seen()
            except Exception as error:
                if not {kind.__name__ for kind in type(error).__mro__} & NOT_STARTED:
                    raise
                reason = " ".join(str(error).split())
            self.close()  # after a restart within a reset SMAC returns units of another game
        raise NotStartedError(f"StarCraft II could not be started on {self.map_name}: {reason}")

    def step(self, request):
        """{"actions": one per agent}. Value None: SMAC had to restart the game, and the battle is lost."""
        reward, terminated, info = self.env.step(request["actions"])
        if not info:
            self.ended = True
            self.close()
            return None, ()
        self.ended = bool(terminated)
        if terminated and request.get("replays"):
            self.env.save_replay()
        truncated = bool(info.get("episode_limit", False))
        value = [float(reward), bool(terminated), truncated, bool(info["battle_won"])]
        return value, self._seen()

    def close(self):
        """End StarCraft II; the next battle starts it anew."""
        if self.env is not None:
            self.env.close()
        self.env = None

    def _seen(self):
        import numpy as np

        return (
            ("obs", np.ascontiguousarray(self.env.get_obs(), dtype=np.float32)),
            ("state", np.ascontiguousarray(self.env.get_state(), dtype=np.float32)),
            ("avail_actions", np.ascontiguousarray(np.asarray(self.env.get_avail_actions()) > 0)),
        )


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _new(request, seed):
    """SMAC's environment of a map, which is registered first where SMAC does not know it.

    `continuing_episode` only makes SMAC report that the time limit ended a battle.
    """
    try:
        from smac.env import StarCraft2Env
        from smac.env.starcraft2.maps import smac_maps
    except ImportError as error:
        raise NotStartedError(f"SMAC's package cannot be imported ({error})") from None
    name, known = request["map"], smac_maps.get_smac_map_registry()
    if name not in known:
        known[name] = request["params"]
        setattr(smac_maps, name, type(name, (smac_maps.SMACMap,), {"filename": name}))
    replays = {"replay_dir": request["replays"]} if request.get("replays") else {}
    return StarCraft2Env(map_name=name, seed=seed, continuing_episode=True, **replays)


def _listen(stream, requests):
    """Queue requests; behind the last one, what hangs is killed."""
    while True:
        frame = read_frame(stream)
        requests.put(frame)
        if frame is None:
            time.sleep(GRACE_S)
            os.killpg(0, signal.SIGKILL)


def main():
    """Answer requests until the input ends."""
    into, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # StarCraft II writes there
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        signal.signal(getattr(signal, name), lambda *_: None)  # not SIG_IGN: the game would inherit it
    requests: Any = queue.Queue()
    battles = Battles()
    threading.Thread(target=_listen, args=(into, requests), daemon=True).start()
    for request, _ in iter(requests.get, None):
        try:
            value, arrays = getattr(battles, request["do"])(request)
            answer = {"done": value}
        except NotStartedError as error:
            answer, arrays = {"not started": str(error)}, ()
        except Exception:
            answer, arrays = {"failed": traceback.format_exc()}, ()
        try:
            write_frame(out, answer, arrays)
        except OSError:  # the trainer is gone
            break
    battles.close()


if __name__ == "__main__":
    main()
