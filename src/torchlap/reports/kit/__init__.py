"""What every report shares: text, tables, findings, drawing."""
