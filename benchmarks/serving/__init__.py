"""What Dormouse costs a server: requests under a storm of sleeps, and the latency of a model that is awake."""
