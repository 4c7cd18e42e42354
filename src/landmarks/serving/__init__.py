"""The web service: tags over HTTP, and a web page."""
