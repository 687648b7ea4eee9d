"""
From inputs to datums: which container sees which files.

    era1     the 1.0 methods: incremental views, shares, the cross product of several inputs
    blocks   where one file may be cut so that several containers can share it
"""
