"""What a slot moves: one package per engine."""
