"""From the user's `load` to a loaded model."""
