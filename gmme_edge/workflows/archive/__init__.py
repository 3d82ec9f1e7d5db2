"""The parts of `scan`.

joining     which recordings follow each other
working     who hears what next; heard: what a worker is given and gives back; network: in a worker
hearing     one recording to its events, or joined ones, in a worker
dividing    a long recording in segments, for many workers
journal     what was heard and what is left, in a file that survives a kill; findings: what it
            holds; divisions: of long recordings in work
executors   who does the work: processes here; clusters: Dask or Ray
tables      the events as other programs read them
embeddings  the vectors of windows, on their way and as a matrix
overview    the archive as a page; excerpts: the sounds on it
"""
