"""What sleeping saved and what it cost in waiting: asked as flags say, added up, printed. Pure."""
