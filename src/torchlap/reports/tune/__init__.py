"""The answer of `torchlap tune`: the ladder, and the code that sets the winner's recipe."""
