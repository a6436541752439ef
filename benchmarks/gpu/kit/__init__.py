"""The kit: one folder with all that the checks need on a machine that has torch and a GPU, and no network."""
