"""The search of `torchlap tune`: candidates, races in paired laps, and the guard."""
