"""The run file: append, load, upgrade, find; figures recomputed from raw laps."""
