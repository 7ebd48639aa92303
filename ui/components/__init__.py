"""Parts of pages.

format      numbers, rates, shares, durations for people
states      a state's tone, glyph and word
markup      elements, badges, references, tabs
elements    our React components (assets/*.js) as Dash knows them
layout      layered layout of a graph: pure, stable between two calls
scene       the collector's graph as shapes and curves for the map
plan        a flow's way as a small map
axis        time to share of the axis, gaps folded
timeline    a flow's spans and its times in Kafka as rows
"""
