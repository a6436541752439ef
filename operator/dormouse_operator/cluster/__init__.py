"""What is in the cluster, and the way to its API server. Nothing here decides."""
