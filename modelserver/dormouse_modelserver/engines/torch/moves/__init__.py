"""The steps of a wake and of a demotion."""
