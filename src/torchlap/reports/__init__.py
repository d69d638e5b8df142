"""Records in, text out: the terminal's table, Markdown, CSV, JSON. Nothing here measures, prints or exits."""
