"""What the operator costs and how quickly it acts, for fleets of several sizes on a real API server."""
