package parity.packages

import data.second as lib
import data.parity.beside as near

from_second := lib.x

from_beside := near.shown

whole := {name: value | some name, value in data.parity.beside}

grows[name] := value if some name, value in lib.parts

seen contains "two" if near.shown == 7

called := function(1)

called_in_full := data.parity.packages.function(2)

of_kind := by.a

nobody := by.c
