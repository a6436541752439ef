"""The documentation as a site: pages made from code, and what makes Markdown for GitHub fit MkDocs."""
