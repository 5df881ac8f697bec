"""The public Python API; everything in it is reached as ``kokon.NAME``.

calls       run, popen: the arguments of subprocess's functions, and the options of a run
pipes       a program's standard streams and our ends of them
process     Popen: a program that runs
completed   CompletedProcess, Usage: one that has ended
ends        TimeoutExpired and others, subclasses of subprocess's
sandbox     Sandbox: many programs in one container
"""
