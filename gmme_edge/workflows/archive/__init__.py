"""The parts of `scan`.

joining     which recordings follow each other
hearing     one recording to its events, or joined ones, in a worker
journal     what was heard and what is left, in a file that survives a kill; findings: what it holds
executors   who does the work: processes here; clusters: Dask or Ray
tables      the events as other programs read them
embeddings  the vectors of windows, on their way and as a matrix
overview    the archive as a page; excerpts: the sounds on it
"""
