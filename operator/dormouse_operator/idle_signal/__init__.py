"""What is known of the idleness of the replicas, and how far it can be believed."""
