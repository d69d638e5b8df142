"""Reports for a terminal, as Markdown, CSV, JSON, a page or a picture: pure functions that return text or bytes."""
