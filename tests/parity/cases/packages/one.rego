# Two files of one package that each import something under the same name.
package parity.packages

import data.first as lib
import data.parity.beside

from_first := lib.x

sum_of_both := from_first + from_second

grows[name] := value if some name, value in lib.parts

seen contains "one" if beside.shown == 7

function(x) := x + lib.x

by[kind] contains name if {
	some kind, names in {"a": ["x", "y"], "b": ["z"]}
	some name in names
}
