"""What our two pages share: the model server's panel and the fleet's console look, speak and answer alike.

    headers.py     what every answer carries, so that no page can be framed, sniffed or scripted
    pages.py       a page's files and the kit's, served by exact name, in the reader's language
    language.py    which language that is
    problems.py    problem+json, and what is wrong with a body
    bodies.py      a request's body, up to a limit
    paths.py       one spelling of each path
    connections.py for how long, and on how many connections, the head of a request is waited for
    page/          styles, icon, sentences and scripts that both pages load beside their own

A page is a folder `page` in a package of its own. The kit knows nothing of what the pages show.
"""
