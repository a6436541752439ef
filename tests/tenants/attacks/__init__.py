"""All kinds of bad, by what they do. A new kind is a function in one of these files and its line in `naming.py`."""
