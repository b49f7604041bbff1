package lib

flag if input.peer.service == "orders"

nothing if false
