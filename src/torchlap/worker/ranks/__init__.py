"""Ranks that train one model together, started by torch.distributed.run; each answers the judge by itself."""
