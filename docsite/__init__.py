"""The documentation as a site: pages made of code, and what makes Markdown for GitHub fit MkDocs.

`make generate` writes the pages, `python -m docsite build` makes the site.
"""
