# Builtin functions with ordinary and with odd arguments.
package parity.collections

array_concat_1 := array.concat([1], [2])

array_concat_2 := array.concat([], [])

array_reverse_1 := array.reverse([1, 2])

array_reverse_2 := array.reverse([])

array_slice_1 := array.slice([1, 2, 3], 1, 2)

array_slice_2 := array.slice([1, 2, 3], -1, 5)

array_slice_3 := array.slice([1, 2, 3], 2, 1)

array_slice_4 := array.slice([1], 5, 6)

count_1 := count([1, 2])

count_2 := count({})

count_3 := count("abc")

count_4 := count("é")

count_5 := count("")

count_6 := count({1, 2})

intersection_1 := intersection({{1, 2}, {2, 3}})

intersection_2 := intersection({{1}})

intersection_3 := intersection(set())

intersection_4 := intersection({{1}, {2}})

max_1 := max([1, 3, 2])

max_2 := max({"a", "b"})

max_3 := max([])

max_4 := max([1, "a", null])

max_5 := max(set())

min_1 := min([3, 1])

min_2 := min([])

min_3 := min({[1], [0]})

numbers_range_1 := numbers.range(1, 3)

numbers_range_2 := numbers.range(3, 1)

numbers_range_3 := numbers.range(1, 1)

numbers_range_step_1 := numbers.range_step(1, 5, 2)

numbers_range_step_2 := numbers.range_step(5, 1, 2)

numbers_range_step_3 := numbers.range_step(1, 5, 0)

numbers_range_step_4 := numbers.range_step(1, 5, -1)

numbers_range_step_5 := numbers.range_step(1, 1, 3)

product_1 := product([2, 3])

product_2 := product([])

product_3 := product({2, 2})

product_4 := product([1.5, 2])

sort_1 := sort([3, 1, 2])

sort_2 := sort({"b", "a"})

sort_3 := sort([null, true, 1, "a", [1], {}, false])

sort_4 := sort([[2], [1, 5]])

sort_5 := sort([{"b": 1}, {"a": 2}])

sort_6 := sort([1, 1.0, 0.5])

sort_7 := sort(["é", "z", "😀", "｡"])

sum_1 := sum([1, 2])

sum_2 := sum([])

sum_3 := sum({1, 2})

sum_4 := sum([1.5, 1])

union_1 := union({{1}, {2}})

union_2 := union(set())

union_3 := union({set()})
