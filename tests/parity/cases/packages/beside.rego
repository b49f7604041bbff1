package parity.beside

import data.parity.packages

shown := 7

back := packages.from_first
