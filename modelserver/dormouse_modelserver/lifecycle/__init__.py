"""The life of a model: where it is, who uses it, when it moves. No torch, no FastAPI."""
