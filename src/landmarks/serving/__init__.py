"""The web service: tags over HTTP, and a page for people."""
