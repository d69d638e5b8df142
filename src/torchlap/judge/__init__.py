"""Pure rules: what was recorded goes in, findings and verdicts come out."""
