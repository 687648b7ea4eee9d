"""
Other people's programs on the mount, each beside a plain folder of ext4 in the same run.

A module for each client; `__main__.py` runs them and reports.  What a client has to say is a list of
checks with names; a check that passes in the plain folder and not on the mount makes the run fail.
"""
