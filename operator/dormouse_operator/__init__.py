"""The operator. Here is the loop: `reconciler.py` says whom to visit and when, `visit.py` what is done there.

Around it, a room for each thing that the loop stands on, and arrows in one direction (held by import-linter):
`cluster` and `idle_signal` say what is, `keys` and `leadership` whether we may act, `workqueue` runs what takes
time, `reporting` tells people. `savings` and `webhook` are commands beside `run`.
"""
