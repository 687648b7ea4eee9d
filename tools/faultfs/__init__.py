"""
A file system that keeps a record of what a disk would have been told, and that fails on command.

`faultfs` passes everything through to a plain folder, in a process of its own, and writes a log of it
(`log.py`): every write, every change of a name, every completed fsync.  From the log, `disk.py` makes
what a disk may hold after a power cut at any point: everything that a completed fsync covers, and any
part of the rest.  So one run of a program is good for as many power cuts as one likes.

On command (`client.py`) it also fails reads, writes, fsyncs and all changes with an errno of one's choice
(`faults.py`), and holds the k-th fsync until somebody has killed the program that waits for it.

    disk.py      what is on the disk after a power cut; knows no FUSE
    log.py       the records, and files of them
    faults.py    what is to fail, and what is held
    adapter.py   the kernel's requests; the only one that knows pyfuse3
    server.py    the process: mount, control socket
    client.py    starting it and talking to it
"""
