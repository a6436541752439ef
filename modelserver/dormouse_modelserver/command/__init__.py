"""The command `dormouse-modelserver serve`: its settings and the server that it runs."""
