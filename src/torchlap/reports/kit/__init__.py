"""What every report shares: text, units, tables, findings, JSON and drawing."""
