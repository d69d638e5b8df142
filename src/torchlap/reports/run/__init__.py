"""The report of a run: terminal, Markdown, CSV, JSON, HTML page, charts."""
