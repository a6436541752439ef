"""The product on a real node: images, chart, kubelet. `make e2e`; docs/e2e.md tells how to look into a failure."""
