"""The parts of `scan`.

hearing     one recording to its events, in a worker
journal     what was heard and what is left, in a file that survives a kill
executors   who does the work: processes here, or a cluster
tables      the events as other programs read them
"""
