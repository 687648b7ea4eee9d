"""
The command line, `pfs` and `pachctl`: arguments and printing.  Rules live on the floors below.

    main.py        where it starts; what an error looks like
    commands.py    the table of all commands, and how one becomes a program
    session.py     what a command works with: the store, the mount, the screen
    screen.py      tables, JSON, YAML, notes
    exits.py       exit codes
    names.py       repo@branch:/path
    all others     a family of commands each
"""
