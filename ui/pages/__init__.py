"""The pages.

start       /               what is broken now; first steps before the first span
live_map    /map            who talks to whom
flows       /flows          search
flow        /flow/<id>      the verdict, the way, the timeline; flow_panel shows a chosen row
lag         /lag            every group
group       /lag/<group>    one group's partitions
view        what a page gives to the shell
"""
