"""Proof that the weights are what they were, and that nobody uses them asleep."""
