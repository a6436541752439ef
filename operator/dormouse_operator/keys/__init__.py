"""The operator's key: where it comes from, how it is changed, and who knows its certificate."""
