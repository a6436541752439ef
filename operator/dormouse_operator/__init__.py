"""The operator. Here is the loop: `reconciler.py` observes, plans (with the contract), orders and records.

Around it, a room for each thing that the loop stands on, and arrows in one direction (held by import-linter):
`cluster` and `idle_signal` say what is, `keys` and `leadership` whether we may act, `reporting` tells people.
`savings` and `webhook` are commands of their own.
"""
