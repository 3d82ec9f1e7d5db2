"""A bundle as a page: a folder that any web server serves."""
