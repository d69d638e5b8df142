"""A collection as a static site: an index to search, a page for each chip and machine, and what was refused."""
