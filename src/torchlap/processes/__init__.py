"""Start workers, talk to them, and survive them: the only place that knows how."""
