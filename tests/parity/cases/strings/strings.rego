# Builtin functions with ordinary and with odd arguments.
package parity.strings

concat_1 := concat(",", ["a", "b"])

concat_2 := concat(",", {"b", "a"})

concat_3 := concat("", [])

contains_1 := contains("abc", "b")

contains_2 := contains("abc", "")

contains_3 := contains("", "")

endswith_1 := endswith("abc", "c")

endswith_2 := endswith("abc", "")

indexof_1 := indexof("abc", "c")

indexof_2 := indexof("abc", "z")

indexof_3 := indexof("", "a")

indexof_4 := indexof("éa", "a")

indexof_5 := indexof("😀a", "a")

indexof_n_1 := indexof_n("ababa", "a")

indexof_n_2 := indexof_n("aaa", "aa")

indexof_n_3 := indexof_n("éaéa", "a")

indexof_n_4 := indexof_n("abc", "z")

lower_1 := lower("ÄBC")

lower_2 := lower("")

replace_1 := replace("aab", "a", "x")

replace_2 := replace("abc", "", "-")

replace_3 := replace("abc", "z", "-")

replace_4 := replace("", "", "x")

semver_compare_1 := semver.compare("1.0.0", "1.0.1")

semver_compare_2 := semver.compare("1.0.0-alpha", "1.0.0")

semver_compare_3 := semver.compare("1.0.0-alpha.1", "1.0.0-alpha.beta")

semver_compare_4 := semver.compare("1.0.0+a", "1.0.0+b")

semver_compare_5 := semver.compare("1.0.0", "1.0.0+b")

semver_compare_6 := semver.compare("1.0", "1.0.0")

semver_compare_7 := semver.compare("1.0.0-2", "1.0.0-10")

split_1 := split("a,b", ",")

split_2 := split("a", ",")

split_3 := split("", ",")

split_4 := split("abc", "")

split_5 := split("a,,b", ",")

split_6 := split("é😀", "")

sprintf_1 := sprintf("%v", ["a"])

sprintf_2 := sprintf("%v", [1])

sprintf_3 := sprintf("%v", [1.5])

sprintf_4 := sprintf("%v", [null])

sprintf_5 := sprintf("%v", [true])

sprintf_6 := sprintf("%v", [[1, "a"]])

sprintf_7 := sprintf("%v", [{"a": 1}])

sprintf_8 := sprintf("%v", [{"a", "b"}])

sprintf_9 := sprintf("%v", [{"a": [null, "b"]}])

sprintf_10 := sprintf("%s", [[1]])

sprintf_11 := sprintf("%s", [true])

sprintf_12 := sprintf("%s", [{"a"}])

sprintf_13 := sprintf("é%s", ["é"])

sprintf_14 := sprintf("%v", [9007199254740993])

sprintf_15 := sprintf("%s", ["a\"b"])

sprintf_16 := sprintf("%v", [["a\"b\u00e9"]])

sprintf_17 := sprintf("%v", [{}])

sprintf_18 := sprintf("%v", [[]])

sprintf_19 := sprintf("%s", [null])

startswith_1 := startswith("abc", "ab")

startswith_2 := startswith("abc", "")

strings_any_prefix_match_1 := strings.any_prefix_match("abc", "ab")

strings_any_prefix_match_2 := strings.any_prefix_match("abc", ["x", "a"])

strings_any_prefix_match_3 := strings.any_prefix_match({"abc", "x"}, {"ab"})

strings_any_prefix_match_4 := strings.any_prefix_match([], ["a"])

strings_any_prefix_match_5 := strings.any_prefix_match("abc", [])

strings_any_prefix_match_6 := strings.any_prefix_match("abc", [""])

strings_any_suffix_match_1 := strings.any_suffix_match("abc", "bc")

strings_any_suffix_match_2 := strings.any_suffix_match(["abc"], ["c", "x"])

strings_any_suffix_match_3 := strings.any_suffix_match("abc", "x")

strings_reverse_1 := strings.reverse("abc")

strings_reverse_2 := strings.reverse("é😀")

strings_reverse_3 := strings.reverse("e\u0301")

substring_1 := substring("abc", 1, 1)

substring_2 := substring("abc", 1, -1)

substring_3 := substring("abc", 0, 10)

substring_4 := substring("abc", 5, 1)

substring_5 := substring("abc", -1, 1)

substring_6 := substring("é😀a", 1, 1)

substring_7 := substring("", 0, 1)

substring_8 := substring("abc", 1, 0)

trim_1 := trim("  a ", " ")

trim_2 := trim("xxaxx", "x")

trim_3 := trim("abcba", "ab")

trim_4 := trim("a", "")

trim_left_1 := trim_left("xxa", "x")

trim_left_2 := trim_left("abc", "ba")

trim_right_1 := trim_right("axx", "x")

trim_prefix_1 := trim_prefix("abc", "ab")

trim_prefix_2 := trim_prefix("abc", "x")

trim_suffix_1 := trim_suffix("abc", "bc")

trim_space_1 := trim_space(" \t\na ")

trim_space_2 := trim_space("\u00a0a\u2003")

trim_space_3 := trim_space("\u0085a\u200b")

upper_1 := upper("äbc")

upper_2 := upper("ǆ")
