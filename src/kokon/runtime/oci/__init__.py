"""The life cycle of OCI containers (runtime.md), one verb a file.

record     what is kept of a container, under its lock
create     config.json -> a container that waits
start      the program runs
execute    another program in a container
kill, delete, pause, update, processes
"""
