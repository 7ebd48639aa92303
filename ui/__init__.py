"""The web UI. It knows a collector by `flowtrail.client` alone, and every state of it by its address.

app         the Dash app: one callback draws pages, one route serves the map's scenes
shell       top bar, banner, main part, panel
address     what an address says, and how it is written
source      the collector's answers, kept while it is slow or away
responses   Content-Security-Policy and compression
pages/      a function a page: address and data in, a View out
components/ parts of pages: geometry, rows, formats, markup
assets/     style sheets and our own React components, served as they are
"""
