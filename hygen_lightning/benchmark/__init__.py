"""The benchmarks: each measures two things side by side in one run, and prints their ratio.

update     seconds and memory of an update, fast and by definition
simulator  environment steps per second, beside JaxMARL's SMAX
battles    whole battles of an evaluation and a rollout, uncompiled and compiled
scaling    how both grow with agents, batch and length
run        hours of a whole run, reckoned from its parts
ddp        several processes against one

`update`, `simulator`, `battles` and `scaling` share the timer in `timing`; `run` and `ddp` measure a
`fit` in a process of its own (`measured_fit`, `fit_times`).
"""
