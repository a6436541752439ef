"""The life of a model: where its weights are, who uses it, when it moves. No torch, no FastAPI."""
