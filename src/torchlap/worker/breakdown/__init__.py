"""Where a step spends its time: phases, operator costs, peaks, energy."""
