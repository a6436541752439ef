"""Which tensors a model has, and how they lie in one arena."""
