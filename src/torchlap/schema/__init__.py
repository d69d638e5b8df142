"""What both sides say: the types of workloads, machines, events, messages and traces."""
