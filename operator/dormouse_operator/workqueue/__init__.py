"""The work queue of the operator: what is to be done, by typed keys, and what became of it."""
