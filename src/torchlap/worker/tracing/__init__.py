"""The tracer of `torchlap audit`: it watches a script's clocks, steps, losses and data, and changes none of them."""
