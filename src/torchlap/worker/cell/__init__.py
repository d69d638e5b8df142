"""One cell: its model, data, prepared step and timed laps."""
