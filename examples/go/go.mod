module gmme_edge

go 1.19
