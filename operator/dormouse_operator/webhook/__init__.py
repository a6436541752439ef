"""`dormouse-operator webhook`: puts the sidecar into pods. A program of its own, without rights in the cluster."""
