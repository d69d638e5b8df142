"""Whether a device computes correct results, operator by operator against float64."""
