"""The report of a run: terminal, Markdown, CSV, JSON, exports, HTML page, charts."""
