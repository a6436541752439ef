"""What happened to a model, and the idle timeout that would suit it."""
