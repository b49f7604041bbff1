# Builtin functions with ordinary and with odd arguments.
package parity.objects

graph_reachable_1 := graph.reachable({"a": ["b"], "b": ["c"], "c": []}, ["a"])

graph_reachable_2 := graph.reachable({"a": {"b"}, "b": {"a"}}, {"a"})

graph_reachable_3 := graph.reachable({"a": ["z"]}, ["a"])

json_is_valid_1 := json.is_valid("{}")

json_is_valid_2 := json.is_valid("{")

json_is_valid_3 := json.is_valid("")

json_is_valid_4 := json.is_valid("1")

json_is_valid_5 := json.is_valid("nan")

json_is_valid_6 := json.is_valid("[1] x")

json_is_valid_7 := json.is_valid("{\"a\": 1, \"a\": 2}")

json_unmarshal_1 := json.unmarshal("{\"a\": [1, 2.5, null]}")

json_unmarshal_2 := json.unmarshal("")

json_unmarshal_3 := json.unmarshal("{")

json_unmarshal_4 := json.unmarshal("1 2")

json_unmarshal_5 := json.unmarshal("{\"a\": 1, \"a\": 2}")

object_filter_1 := object.filter({"a": 1, "b": 2}, ["a"])

object_filter_2 := object.filter({"a": 1}, {"a", "z"})

object_filter_3 := object.filter({"a": 1}, {"a": 5})

object_filter_4 := object.filter({1: 1}, [1])

object_get_1 := object.get({"a": 1}, "a", 2)

object_get_2 := object.get({"a": 1}, "b", 2)

object_get_3 := object.get({"a": {"b": 1}}, ["a", "b"], 2)

object_get_4 := object.get({"a": {"b": 1}}, ["a", "c"], 2)

object_get_5 := object.get({"a": 1}, ["a", "c"], 2)

object_get_6 := object.get({"a": 1}, [], 2)

object_get_7 := object.get({"a": [5, 6]}, ["a", 1], 2)

object_get_8 := object.get({"a": {"x"}}, ["a", "x"], 2)

object_get_9 := object.get({1: "x"}, 1, 2)

object_get_10 := object.get({["a"]: 3}, ["a"], 2)

object_keys_1 := object.keys({"a": 1, "b": 2})

object_keys_2 := object.keys({})

object_remove_1 := object.remove({"a": 1, "b": 2}, ["a"])

object_remove_2 := object.remove({"a": 1}, {"z"})

object_remove_3 := object.remove({"a": 1}, {"a": 2})

object_union_1 := object.union({"a": 1}, {"b": 2})

object_union_2 := object.union({"a": {"b": 1}}, {"a": {"c": 2}})

object_union_3 := object.union({"a": 1}, {"a": {"c": 2}})

object_union_4 := object.union({"a": [1]}, {"a": [2]})

object_union_n_1 := object.union_n([{"a": 1}, {"b": 2}, {"a": 3}])

object_union_n_2 := object.union_n([])

object_union_n_3 := object.union_n([{"a": {"b": 1}}, {"a": {"c": 2}}])
