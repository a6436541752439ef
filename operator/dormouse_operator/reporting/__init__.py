"""What people are told: conditions, status and Events."""
