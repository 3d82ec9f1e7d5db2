"""A bundle as a network service; needs the extra ``serve``.

app        requests to answers, and errors to statuses
streams    the WebSocket: sound in, events out
listener   the classifier behind both, its threads and its places
batching   windows of several clients in one run of the network
body       what a request carries, as a recording
queries    what a request may ask for, as groups of settings
limits     what is refused
metrics    what is counted
openapi    the interface as a document
server     sockets, signals and slow clients
page/      a page that uses it
"""
