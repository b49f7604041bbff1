# Builtin functions with ordinary and with odd arguments.
package parity.patterns

regex_find_all_string_submatch_n_1 := regex.find_all_string_submatch_n("a(b*)", "abba", -1)

regex_find_all_string_submatch_n_2 := regex.find_all_string_submatch_n("a(b)?", "aab", -1)

regex_find_all_string_submatch_n_3 := regex.find_all_string_submatch_n("a", "aaa", 2)

regex_find_all_string_submatch_n_4 := regex.find_all_string_submatch_n("a", "aaa", 0)

regex_find_all_string_submatch_n_5 := regex.find_all_string_submatch_n("x", "aaa", -1)

regex_find_n_1 := regex.find_n("a+", "aabaa", -1)

regex_find_n_2 := regex.find_n("a+", "aabaa", 1)

regex_find_n_3 := regex.find_n("a*", "baac", -1)

regex_find_n_4 := regex.find_n("x", "aa", -1)

regex_find_n_5 := regex.find_n("a", "aa", 0)

regex_match_1 := regex.match("^a.c$", "abc")

regex_match_2 := regex.match("^a.c$", "a\nc")

regex_match_3 := regex.match("a", "bab")

regex_match_4 := regex.match("", "")

regex_match_6 := regex.match("^[a-z0-9-]+$", "ab-1")

regex_match_7 := regex.match("(?i)k", "K")

regex_match_8 := regex.match("(?i)k", "\u212a")

regex_match_9 := regex.match("(?i)straße", "STRASSE")

regex_match_10 := regex.match("(?i)é", "É")

regex_match_11 := regex.match(".", "é")

regex_match_12 := regex.match("^.$", "😀")

regex_match_13 := regex.match("[^a]", "é")

regex_match_14 := regex.match("[[:alpha:]]", "é")

regex_match_15 := regex.match("[[:space:]]", "\u00a0")

regex_match_16 := regex.match("$", "a\n")

regex_match_17 := regex.match("a$", "a\n")

regex_match_18 := regex.match("(?m)a$", "a\nb")

regex_match_19 := regex.match("^a|b$", "xb")

regex_match_20 := regex.match("a{2}", "aa")

regex_match_21 := regex.match("a{2,}", "aaa")

regex_match_22 := regex.match("\\.", "a.b")

regex_match_23 := regex.match("\\A[a]\\z", "a")

regex_match_24 := regex.match("\\x41", "A")

regex_match_25 := regex.match("(a|ab)(c|bcd)", "abcd")

regex_match_26 := regex.match("(?s)a.c", "a\nc")

regex_match_27 := regex.match("#", "#")

regex_match_28 := regex.match(" a", " a")

regex_replace_1 := regex.replace("a", "b", "c")

regex_replace_2 := regex.replace("foobar", "o+", "x")

regex_replace_3 := regex.replace("foo", "(o)", "<$1>")

regex_replace_4 := regex.replace("foo", "(o)", "<${1}x>")

regex_replace_5 := regex.replace("foo", "(o)", "$1x")

regex_replace_6 := regex.replace("foo", "(?P<v>o)", "<$v>")

regex_replace_7 := regex.replace("foo", "o", "$$")

regex_replace_8 := regex.replace("foo", "o", "$0")

regex_replace_9 := regex.replace("foo", "x*", "-")

regex_split_1 := regex.split(",", "a,b,,c")

regex_split_2 := regex.split("x", "abc")

regex_split_3 := regex.split(",", "")

regex_split_4 := regex.split(",", ",")

regex_split_5 := regex.split("(,)", "a,b")

glob_match_1 := glob.match("a", ["/"], "a")

glob_match_2 := glob.match("a", ["/"], "ab")

glob_match_3 := glob.match("a", ["/"], "abd")

glob_match_4 := glob.match("a", ["/"], "a/b")

glob_match_5 := glob.match("a", ["/"], "a/b/c")

glob_match_6 := glob.match("a", ["/"], "a/")

glob_match_7 := glob.match("a", ["/"], "a/.hidden")

glob_match_8 := glob.match("a", ["/"], "")

glob_match_9 := glob.match("a", ["/"], "/v1/orders")

glob_match_10 := glob.match("a", ["/"], "/v1/orders/1")

glob_match_11 := glob.match("a", ["/"], "/v1")

glob_match_12 := glob.match("a", ["/"], "/v1/")

glob_match_13 := glob.match("a", ["/"], "x.x")

glob_match_14 := glob.match("a", ["/"], "a:b")

glob_match_15 := glob.match("a", ["/"], "spiffe://x/y")

glob_match_16 := glob.match("a", ["/"], "spiffe://x/y/z")

glob_match_17 := glob.match("a", ["/"], "a\nb")

glob_match_18 := glob.match("a", ["/"], "b/\u00e9")

glob_match_19 := glob.match("a", ["/"], "a/x/")

glob_match_20 := glob.match("a", ["/"], "axb/c")

glob_match_21 := glob.match("*", ["/"], "a")

glob_match_22 := glob.match("*", ["/"], "ab")

glob_match_23 := glob.match("*", ["/"], "abd")

glob_match_24 := glob.match("*", ["/"], "a/b")

glob_match_25 := glob.match("*", ["/"], "a/b/c")

glob_match_26 := glob.match("*", ["/"], "a/")

glob_match_27 := glob.match("*", ["/"], "a/.hidden")

glob_match_28 := glob.match("*", ["/"], "")

glob_match_29 := glob.match("*", ["/"], "/v1/orders")

glob_match_30 := glob.match("*", ["/"], "/v1/orders/1")

glob_match_31 := glob.match("*", ["/"], "/v1")

glob_match_32 := glob.match("*", ["/"], "/v1/")

glob_match_33 := glob.match("*", ["/"], "x.x")

glob_match_34 := glob.match("*", ["/"], "a:b")

glob_match_35 := glob.match("*", ["/"], "spiffe://x/y")

glob_match_36 := glob.match("*", ["/"], "spiffe://x/y/z")

glob_match_37 := glob.match("*", ["/"], "a\nb")

glob_match_38 := glob.match("*", ["/"], "b/\u00e9")

glob_match_39 := glob.match("*", ["/"], "a/x/")

glob_match_40 := glob.match("*", ["/"], "axb/c")

glob_match_41 := glob.match("a/*", ["/"], "a")

glob_match_42 := glob.match("a/*", ["/"], "ab")

glob_match_43 := glob.match("a/*", ["/"], "abd")

glob_match_44 := glob.match("a/*", ["/"], "a/b")

glob_match_45 := glob.match("a/*", ["/"], "a/b/c")

glob_match_46 := glob.match("a/*", ["/"], "a/")

glob_match_47 := glob.match("a/*", ["/"], "a/.hidden")

glob_match_48 := glob.match("a/*", ["/"], "")

glob_match_49 := glob.match("a/*", ["/"], "/v1/orders")

glob_match_50 := glob.match("a/*", ["/"], "/v1/orders/1")

glob_match_51 := glob.match("a/*", ["/"], "/v1")

glob_match_52 := glob.match("a/*", ["/"], "/v1/")

glob_match_53 := glob.match("a/*", ["/"], "x.x")

glob_match_54 := glob.match("a/*", ["/"], "a:b")

glob_match_55 := glob.match("a/*", ["/"], "spiffe://x/y")

glob_match_56 := glob.match("a/*", ["/"], "spiffe://x/y/z")

glob_match_57 := glob.match("a/*", ["/"], "a\nb")

glob_match_58 := glob.match("a/*", ["/"], "b/\u00e9")

glob_match_59 := glob.match("a/*", ["/"], "a/x/")

glob_match_60 := glob.match("a/*", ["/"], "axb/c")

glob_match_61 := glob.match("a/*/c", ["/"], "a")

glob_match_62 := glob.match("a/*/c", ["/"], "ab")

glob_match_63 := glob.match("a/*/c", ["/"], "abd")

glob_match_64 := glob.match("a/*/c", ["/"], "a/b")

glob_match_65 := glob.match("a/*/c", ["/"], "a/b/c")

glob_match_66 := glob.match("a/*/c", ["/"], "a/")

glob_match_67 := glob.match("a/*/c", ["/"], "a/.hidden")

glob_match_68 := glob.match("a/*/c", ["/"], "")

glob_match_69 := glob.match("a/*/c", ["/"], "/v1/orders")

glob_match_70 := glob.match("a/*/c", ["/"], "/v1/orders/1")

glob_match_71 := glob.match("a/*/c", ["/"], "/v1")

glob_match_72 := glob.match("a/*/c", ["/"], "/v1/")

glob_match_73 := glob.match("a/*/c", ["/"], "x.x")

glob_match_74 := glob.match("a/*/c", ["/"], "a:b")

glob_match_75 := glob.match("a/*/c", ["/"], "spiffe://x/y")

glob_match_76 := glob.match("a/*/c", ["/"], "spiffe://x/y/z")

glob_match_77 := glob.match("a/*/c", ["/"], "a\nb")

glob_match_78 := glob.match("a/*/c", ["/"], "b/\u00e9")

glob_match_79 := glob.match("a/*/c", ["/"], "a/x/")

glob_match_80 := glob.match("a/*/c", ["/"], "axb/c")

glob_match_81 := glob.match("a/**", ["/"], "a")

glob_match_82 := glob.match("a/**", ["/"], "ab")

glob_match_83 := glob.match("a/**", ["/"], "abd")

glob_match_84 := glob.match("a/**", ["/"], "a/b")

glob_match_85 := glob.match("a/**", ["/"], "a/b/c")

glob_match_86 := glob.match("a/**", ["/"], "a/")

glob_match_87 := glob.match("a/**", ["/"], "a/.hidden")

glob_match_88 := glob.match("a/**", ["/"], "")

glob_match_89 := glob.match("a/**", ["/"], "/v1/orders")

glob_match_90 := glob.match("a/**", ["/"], "/v1/orders/1")

glob_match_91 := glob.match("a/**", ["/"], "/v1")

glob_match_92 := glob.match("a/**", ["/"], "/v1/")

glob_match_93 := glob.match("a/**", ["/"], "x.x")

glob_match_94 := glob.match("a/**", ["/"], "a:b")

glob_match_95 := glob.match("a/**", ["/"], "spiffe://x/y")

glob_match_96 := glob.match("a/**", ["/"], "spiffe://x/y/z")

glob_match_97 := glob.match("a/**", ["/"], "a\nb")

glob_match_98 := glob.match("a/**", ["/"], "b/\u00e9")

glob_match_99 := glob.match("a/**", ["/"], "a/x/")

glob_match_100 := glob.match("a/**", ["/"], "axb/c")

glob_match_101 := glob.match("**", ["/"], "a")

glob_match_102 := glob.match("**", ["/"], "ab")

glob_match_103 := glob.match("**", ["/"], "abd")

glob_match_104 := glob.match("**", ["/"], "a/b")

glob_match_105 := glob.match("**", ["/"], "a/b/c")

glob_match_106 := glob.match("**", ["/"], "a/")

glob_match_107 := glob.match("**", ["/"], "a/.hidden")

glob_match_108 := glob.match("**", ["/"], "")

glob_match_109 := glob.match("**", ["/"], "/v1/orders")

glob_match_110 := glob.match("**", ["/"], "/v1/orders/1")

glob_match_111 := glob.match("**", ["/"], "/v1")

glob_match_112 := glob.match("**", ["/"], "/v1/")

glob_match_113 := glob.match("**", ["/"], "x.x")

glob_match_114 := glob.match("**", ["/"], "a:b")

glob_match_115 := glob.match("**", ["/"], "spiffe://x/y")

glob_match_116 := glob.match("**", ["/"], "spiffe://x/y/z")

glob_match_117 := glob.match("**", ["/"], "a\nb")

glob_match_118 := glob.match("**", ["/"], "b/\u00e9")

glob_match_119 := glob.match("**", ["/"], "a/x/")

glob_match_120 := glob.match("**", ["/"], "axb/c")

glob_match_121 := glob.match("/v1/*", ["/"], "a")

glob_match_122 := glob.match("/v1/*", ["/"], "ab")

glob_match_123 := glob.match("/v1/*", ["/"], "abd")

glob_match_124 := glob.match("/v1/*", ["/"], "a/b")

glob_match_125 := glob.match("/v1/*", ["/"], "a/b/c")

glob_match_126 := glob.match("/v1/*", ["/"], "a/")

glob_match_127 := glob.match("/v1/*", ["/"], "a/.hidden")

glob_match_128 := glob.match("/v1/*", ["/"], "")

glob_match_129 := glob.match("/v1/*", ["/"], "/v1/orders")

glob_match_130 := glob.match("/v1/*", ["/"], "/v1/orders/1")

glob_match_131 := glob.match("/v1/*", ["/"], "/v1")

glob_match_132 := glob.match("/v1/*", ["/"], "/v1/")

glob_match_133 := glob.match("/v1/*", ["/"], "x.x")

glob_match_134 := glob.match("/v1/*", ["/"], "a:b")

glob_match_135 := glob.match("/v1/*", ["/"], "spiffe://x/y")

glob_match_136 := glob.match("/v1/*", ["/"], "spiffe://x/y/z")

glob_match_137 := glob.match("/v1/*", ["/"], "a\nb")

glob_match_138 := glob.match("/v1/*", ["/"], "b/\u00e9")

glob_match_139 := glob.match("/v1/*", ["/"], "a/x/")

glob_match_140 := glob.match("/v1/*", ["/"], "axb/c")

glob_match_141 := glob.match("/v1/**", ["/"], "a")

glob_match_142 := glob.match("/v1/**", ["/"], "ab")

glob_match_143 := glob.match("/v1/**", ["/"], "abd")

glob_match_144 := glob.match("/v1/**", ["/"], "a/b")

glob_match_145 := glob.match("/v1/**", ["/"], "a/b/c")

glob_match_146 := glob.match("/v1/**", ["/"], "a/")

glob_match_147 := glob.match("/v1/**", ["/"], "a/.hidden")

glob_match_148 := glob.match("/v1/**", ["/"], "")

glob_match_149 := glob.match("/v1/**", ["/"], "/v1/orders")

glob_match_150 := glob.match("/v1/**", ["/"], "/v1/orders/1")

glob_match_151 := glob.match("/v1/**", ["/"], "/v1")

glob_match_152 := glob.match("/v1/**", ["/"], "/v1/")

glob_match_153 := glob.match("/v1/**", ["/"], "x.x")

glob_match_154 := glob.match("/v1/**", ["/"], "a:b")

glob_match_155 := glob.match("/v1/**", ["/"], "spiffe://x/y")

glob_match_156 := glob.match("/v1/**", ["/"], "spiffe://x/y/z")

glob_match_157 := glob.match("/v1/**", ["/"], "a\nb")

glob_match_158 := glob.match("/v1/**", ["/"], "b/\u00e9")

glob_match_159 := glob.match("/v1/**", ["/"], "a/x/")

glob_match_160 := glob.match("/v1/**", ["/"], "axb/c")

glob_match_161 := glob.match("{a,b}/*", ["/"], "a")

glob_match_162 := glob.match("{a,b}/*", ["/"], "ab")

glob_match_163 := glob.match("{a,b}/*", ["/"], "abd")

glob_match_164 := glob.match("{a,b}/*", ["/"], "a/b")

glob_match_165 := glob.match("{a,b}/*", ["/"], "a/b/c")

glob_match_166 := glob.match("{a,b}/*", ["/"], "a/")

glob_match_167 := glob.match("{a,b}/*", ["/"], "a/.hidden")

glob_match_168 := glob.match("{a,b}/*", ["/"], "")

glob_match_169 := glob.match("{a,b}/*", ["/"], "/v1/orders")

glob_match_170 := glob.match("{a,b}/*", ["/"], "/v1/orders/1")

glob_match_171 := glob.match("{a,b}/*", ["/"], "/v1")

glob_match_172 := glob.match("{a,b}/*", ["/"], "/v1/")

glob_match_173 := glob.match("{a,b}/*", ["/"], "x.x")

glob_match_174 := glob.match("{a,b}/*", ["/"], "a:b")

glob_match_175 := glob.match("{a,b}/*", ["/"], "spiffe://x/y")

glob_match_176 := glob.match("{a,b}/*", ["/"], "spiffe://x/y/z")

glob_match_177 := glob.match("{a,b}/*", ["/"], "a\nb")

glob_match_178 := glob.match("{a,b}/*", ["/"], "b/\u00e9")

glob_match_179 := glob.match("{a,b}/*", ["/"], "a/x/")

glob_match_180 := glob.match("{a,b}/*", ["/"], "axb/c")

glob_match_181 := glob.match("a{b,c}d", ["/"], "a")

glob_match_182 := glob.match("a{b,c}d", ["/"], "ab")

glob_match_183 := glob.match("a{b,c}d", ["/"], "abd")

glob_match_184 := glob.match("a{b,c}d", ["/"], "a/b")

glob_match_185 := glob.match("a{b,c}d", ["/"], "a/b/c")

glob_match_186 := glob.match("a{b,c}d", ["/"], "a/")

glob_match_187 := glob.match("a{b,c}d", ["/"], "a/.hidden")

glob_match_188 := glob.match("a{b,c}d", ["/"], "")

glob_match_189 := glob.match("a{b,c}d", ["/"], "/v1/orders")

glob_match_190 := glob.match("a{b,c}d", ["/"], "/v1/orders/1")

glob_match_191 := glob.match("a{b,c}d", ["/"], "/v1")

glob_match_192 := glob.match("a{b,c}d", ["/"], "/v1/")

glob_match_193 := glob.match("a{b,c}d", ["/"], "x.x")

glob_match_194 := glob.match("a{b,c}d", ["/"], "a:b")

glob_match_195 := glob.match("a{b,c}d", ["/"], "spiffe://x/y")

glob_match_196 := glob.match("a{b,c}d", ["/"], "spiffe://x/y/z")

glob_match_197 := glob.match("a{b,c}d", ["/"], "a\nb")

glob_match_198 := glob.match("a{b,c}d", ["/"], "b/\u00e9")

glob_match_199 := glob.match("a{b,c}d", ["/"], "a/x/")

glob_match_200 := glob.match("a{b,c}d", ["/"], "axb/c")

glob_match_201 := glob.match("/v1/{orders,items}/*", ["/"], "a")

glob_match_202 := glob.match("/v1/{orders,items}/*", ["/"], "ab")

glob_match_203 := glob.match("/v1/{orders,items}/*", ["/"], "abd")

glob_match_204 := glob.match("/v1/{orders,items}/*", ["/"], "a/b")

glob_match_205 := glob.match("/v1/{orders,items}/*", ["/"], "a/b/c")

glob_match_206 := glob.match("/v1/{orders,items}/*", ["/"], "a/")

glob_match_207 := glob.match("/v1/{orders,items}/*", ["/"], "a/.hidden")

glob_match_208 := glob.match("/v1/{orders,items}/*", ["/"], "")

glob_match_209 := glob.match("/v1/{orders,items}/*", ["/"], "/v1/orders")

glob_match_210 := glob.match("/v1/{orders,items}/*", ["/"], "/v1/orders/1")

glob_match_211 := glob.match("/v1/{orders,items}/*", ["/"], "/v1")

glob_match_212 := glob.match("/v1/{orders,items}/*", ["/"], "/v1/")

glob_match_213 := glob.match("/v1/{orders,items}/*", ["/"], "x.x")

glob_match_214 := glob.match("/v1/{orders,items}/*", ["/"], "a:b")

glob_match_215 := glob.match("/v1/{orders,items}/*", ["/"], "spiffe://x/y")

glob_match_216 := glob.match("/v1/{orders,items}/*", ["/"], "spiffe://x/y/z")

glob_match_217 := glob.match("/v1/{orders,items}/*", ["/"], "a\nb")

glob_match_218 := glob.match("/v1/{orders,items}/*", ["/"], "b/\u00e9")

glob_match_219 := glob.match("/v1/{orders,items}/*", ["/"], "a/x/")

glob_match_220 := glob.match("/v1/{orders,items}/*", ["/"], "axb/c")

glob_match_221 := glob.match("*.x", ["/"], "a")

glob_match_222 := glob.match("*.x", ["/"], "ab")

glob_match_223 := glob.match("*.x", ["/"], "abd")

glob_match_224 := glob.match("*.x", ["/"], "a/b")

glob_match_225 := glob.match("*.x", ["/"], "a/b/c")

glob_match_226 := glob.match("*.x", ["/"], "a/")

glob_match_227 := glob.match("*.x", ["/"], "a/.hidden")

glob_match_228 := glob.match("*.x", ["/"], "")

glob_match_229 := glob.match("*.x", ["/"], "/v1/orders")

glob_match_230 := glob.match("*.x", ["/"], "/v1/orders/1")

glob_match_231 := glob.match("*.x", ["/"], "/v1")

glob_match_232 := glob.match("*.x", ["/"], "/v1/")

glob_match_233 := glob.match("*.x", ["/"], "x.x")

glob_match_234 := glob.match("*.x", ["/"], "a:b")

glob_match_235 := glob.match("*.x", ["/"], "spiffe://x/y")

glob_match_236 := glob.match("*.x", ["/"], "spiffe://x/y/z")

glob_match_237 := glob.match("*.x", ["/"], "a\nb")

glob_match_238 := glob.match("*.x", ["/"], "b/\u00e9")

glob_match_239 := glob.match("*.x", ["/"], "a/x/")

glob_match_240 := glob.match("*.x", ["/"], "axb/c")

glob_match_241 := glob.match("a*b", ["/"], "a")

glob_match_242 := glob.match("a*b", ["/"], "ab")

glob_match_243 := glob.match("a*b", ["/"], "abd")

glob_match_244 := glob.match("a*b", ["/"], "a/b")

glob_match_245 := glob.match("a*b", ["/"], "a/b/c")

glob_match_246 := glob.match("a*b", ["/"], "a/")

glob_match_247 := glob.match("a*b", ["/"], "a/.hidden")

glob_match_248 := glob.match("a*b", ["/"], "")

glob_match_249 := glob.match("a*b", ["/"], "/v1/orders")

glob_match_250 := glob.match("a*b", ["/"], "/v1/orders/1")

glob_match_251 := glob.match("a*b", ["/"], "/v1")

glob_match_252 := glob.match("a*b", ["/"], "/v1/")

glob_match_253 := glob.match("a*b", ["/"], "x.x")

glob_match_254 := glob.match("a*b", ["/"], "a:b")

glob_match_255 := glob.match("a*b", ["/"], "spiffe://x/y")

glob_match_256 := glob.match("a*b", ["/"], "spiffe://x/y/z")

glob_match_257 := glob.match("a*b", ["/"], "a\nb")

glob_match_258 := glob.match("a*b", ["/"], "b/\u00e9")

glob_match_259 := glob.match("a*b", ["/"], "a/x/")

glob_match_260 := glob.match("a*b", ["/"], "axb/c")

glob_match_261 := glob.match("spiffe://x/*", ["/"], "a")

glob_match_262 := glob.match("spiffe://x/*", ["/"], "ab")

glob_match_263 := glob.match("spiffe://x/*", ["/"], "abd")

glob_match_264 := glob.match("spiffe://x/*", ["/"], "a/b")

glob_match_265 := glob.match("spiffe://x/*", ["/"], "a/b/c")

glob_match_266 := glob.match("spiffe://x/*", ["/"], "a/")

glob_match_267 := glob.match("spiffe://x/*", ["/"], "a/.hidden")

glob_match_268 := glob.match("spiffe://x/*", ["/"], "")

glob_match_269 := glob.match("spiffe://x/*", ["/"], "/v1/orders")

glob_match_270 := glob.match("spiffe://x/*", ["/"], "/v1/orders/1")

glob_match_271 := glob.match("spiffe://x/*", ["/"], "/v1")

glob_match_272 := glob.match("spiffe://x/*", ["/"], "/v1/")

glob_match_273 := glob.match("spiffe://x/*", ["/"], "x.x")

glob_match_274 := glob.match("spiffe://x/*", ["/"], "a:b")

glob_match_275 := glob.match("spiffe://x/*", ["/"], "spiffe://x/y")

glob_match_276 := glob.match("spiffe://x/*", ["/"], "spiffe://x/y/z")

glob_match_277 := glob.match("spiffe://x/*", ["/"], "a\nb")

glob_match_278 := glob.match("spiffe://x/*", ["/"], "b/\u00e9")

glob_match_279 := glob.match("spiffe://x/*", ["/"], "a/x/")

glob_match_280 := glob.match("spiffe://x/*", ["/"], "axb/c")

glob_match_281 := glob.match("*:*", ["/"], "a")

glob_match_282 := glob.match("*:*", ["/"], "ab")

glob_match_283 := glob.match("*:*", ["/"], "abd")

glob_match_284 := glob.match("*:*", ["/"], "a/b")

glob_match_285 := glob.match("*:*", ["/"], "a/b/c")

glob_match_286 := glob.match("*:*", ["/"], "a/")

glob_match_287 := glob.match("*:*", ["/"], "a/.hidden")

glob_match_288 := glob.match("*:*", ["/"], "")

glob_match_289 := glob.match("*:*", ["/"], "/v1/orders")

glob_match_290 := glob.match("*:*", ["/"], "/v1/orders/1")

glob_match_291 := glob.match("*:*", ["/"], "/v1")

glob_match_292 := glob.match("*:*", ["/"], "/v1/")

glob_match_293 := glob.match("*:*", ["/"], "x.x")

glob_match_294 := glob.match("*:*", ["/"], "a:b")

glob_match_295 := glob.match("*:*", ["/"], "spiffe://x/y")

glob_match_296 := glob.match("*:*", ["/"], "spiffe://x/y/z")

glob_match_297 := glob.match("*:*", ["/"], "a\nb")

glob_match_298 := glob.match("*:*", ["/"], "b/\u00e9")

glob_match_299 := glob.match("*:*", ["/"], "a/x/")

glob_match_300 := glob.match("*:*", ["/"], "axb/c")

glob_match_301 := glob.match("a/*/", ["/"], "a")

glob_match_302 := glob.match("a/*/", ["/"], "ab")

glob_match_303 := glob.match("a/*/", ["/"], "abd")

glob_match_304 := glob.match("a/*/", ["/"], "a/b")

glob_match_305 := glob.match("a/*/", ["/"], "a/b/c")

glob_match_306 := glob.match("a/*/", ["/"], "a/")

glob_match_307 := glob.match("a/*/", ["/"], "a/.hidden")

glob_match_308 := glob.match("a/*/", ["/"], "")

glob_match_309 := glob.match("a/*/", ["/"], "/v1/orders")

glob_match_310 := glob.match("a/*/", ["/"], "/v1/orders/1")

glob_match_311 := glob.match("a/*/", ["/"], "/v1")

glob_match_312 := glob.match("a/*/", ["/"], "/v1/")

glob_match_313 := glob.match("a/*/", ["/"], "x.x")

glob_match_314 := glob.match("a/*/", ["/"], "a:b")

glob_match_315 := glob.match("a/*/", ["/"], "spiffe://x/y")

glob_match_316 := glob.match("a/*/", ["/"], "spiffe://x/y/z")

glob_match_317 := glob.match("a/*/", ["/"], "a\nb")

glob_match_318 := glob.match("a/*/", ["/"], "b/\u00e9")

glob_match_319 := glob.match("a/*/", ["/"], "a/x/")

glob_match_320 := glob.match("a/*/", ["/"], "axb/c")

regex_match_29 := regex.match("^[a-z0-9-]+$", "a-1")

regex_match_30 := regex.match("^[a-z0-9-]+$", "STRASSE")

regex_match_31 := regex.match("^[a-z0-9-]+$", "Stra\u00dfe")

regex_match_32 := regex.match("^[a-z0-9-]+$", "spiffe://x/prod/y")

regex_match_33 := regex.match("^[a-z0-9-]+$", "\u00a0")

regex_match_34 := regex.match("^[a-z0-9-]+$", " ")

regex_match_35 := regex.match("^[a-z0-9-]+$", "\ud83d\ude00")

regex_match_36 := regex.match("^[a-z0-9-]+$", "abcd")

regex_match_37 := regex.match("^[a-z0-9-]+$", "aaa")

regex_match_38 := regex.match("^[a-z0-9-]+$", "A.")

regex_match_39 := regex.match("^[a-z0-9-]+$", "a\nc")

regex_match_40 := regex.match("^[a-z0-9-]+$", "]")

regex_match_41 := regex.match("^[a-z0-9-]+$", "\u00e9")

regex_match_42 := regex.match("^[a-z0-9-]+$", "\u212a")

regex_match_43 := regex.match("^[a-z0-9-]+$", "")

regex_match_44 := regex.match("(?i)^straße$", "a-1")

regex_match_45 := regex.match("(?i)^straße$", "STRASSE")

regex_match_46 := regex.match("(?i)^straße$", "Stra\u00dfe")

regex_match_47 := regex.match("(?i)^straße$", "spiffe://x/prod/y")

regex_match_48 := regex.match("(?i)^straße$", "\u00a0")

regex_match_49 := regex.match("(?i)^straße$", " ")

regex_match_50 := regex.match("(?i)^straße$", "\ud83d\ude00")

regex_match_51 := regex.match("(?i)^straße$", "abcd")

regex_match_52 := regex.match("(?i)^straße$", "aaa")

regex_match_53 := regex.match("(?i)^straße$", "A.")

regex_match_54 := regex.match("(?i)^straße$", "a\nc")

regex_match_55 := regex.match("(?i)^straße$", "]")

regex_match_56 := regex.match("(?i)^straße$", "\u00e9")

regex_match_57 := regex.match("(?i)^straße$", "\u212a")

regex_match_58 := regex.match("(?i)^straße$", "")

regex_match_59 := regex.match("^spiffe://[^/]+/prod/", "a-1")

regex_match_60 := regex.match("^spiffe://[^/]+/prod/", "STRASSE")

regex_match_61 := regex.match("^spiffe://[^/]+/prod/", "Stra\u00dfe")

regex_match_62 := regex.match("^spiffe://[^/]+/prod/", "spiffe://x/prod/y")

regex_match_63 := regex.match("^spiffe://[^/]+/prod/", "\u00a0")

regex_match_64 := regex.match("^spiffe://[^/]+/prod/", " ")

regex_match_65 := regex.match("^spiffe://[^/]+/prod/", "\ud83d\ude00")

regex_match_66 := regex.match("^spiffe://[^/]+/prod/", "abcd")

regex_match_67 := regex.match("^spiffe://[^/]+/prod/", "aaa")

regex_match_68 := regex.match("^spiffe://[^/]+/prod/", "A.")

regex_match_69 := regex.match("^spiffe://[^/]+/prod/", "a\nc")

regex_match_70 := regex.match("^spiffe://[^/]+/prod/", "]")

regex_match_71 := regex.match("^spiffe://[^/]+/prod/", "\u00e9")

regex_match_72 := regex.match("^spiffe://[^/]+/prod/", "\u212a")

regex_match_73 := regex.match("^spiffe://[^/]+/prod/", "")

regex_match_74 := regex.match("[[:space:]]", "a-1")

regex_match_75 := regex.match("[[:space:]]", "STRASSE")

regex_match_76 := regex.match("[[:space:]]", "Stra\u00dfe")

regex_match_77 := regex.match("[[:space:]]", "spiffe://x/prod/y")

regex_match_78 := regex.match("[[:space:]]", "\u00a0")

regex_match_79 := regex.match("[[:space:]]", " ")

regex_match_80 := regex.match("[[:space:]]", "\ud83d\ude00")

regex_match_81 := regex.match("[[:space:]]", "abcd")

regex_match_82 := regex.match("[[:space:]]", "aaa")

regex_match_83 := regex.match("[[:space:]]", "A.")

regex_match_84 := regex.match("[[:space:]]", "a\nc")

regex_match_85 := regex.match("[[:space:]]", "]")

regex_match_86 := regex.match("[[:space:]]", "\u00e9")

regex_match_87 := regex.match("[[:space:]]", "\u212a")

regex_match_88 := regex.match("[[:space:]]", "")

regex_match_89 := regex.match("^.$", "a-1")

regex_match_90 := regex.match("^.$", "STRASSE")

regex_match_91 := regex.match("^.$", "Stra\u00dfe")

regex_match_92 := regex.match("^.$", "spiffe://x/prod/y")

regex_match_93 := regex.match("^.$", "\u00a0")

regex_match_94 := regex.match("^.$", " ")

regex_match_95 := regex.match("^.$", "\ud83d\ude00")

regex_match_96 := regex.match("^.$", "abcd")

regex_match_97 := regex.match("^.$", "aaa")

regex_match_98 := regex.match("^.$", "A.")

regex_match_99 := regex.match("^.$", "a\nc")

regex_match_100 := regex.match("^.$", "]")

regex_match_101 := regex.match("^.$", "\u00e9")

regex_match_102 := regex.match("^.$", "\u212a")

regex_match_103 := regex.match("^.$", "")

regex_match_104 := regex.match("^(a|ab)(c|bcd)$", "a-1")

regex_match_105 := regex.match("^(a|ab)(c|bcd)$", "STRASSE")

regex_match_106 := regex.match("^(a|ab)(c|bcd)$", "Stra\u00dfe")

regex_match_107 := regex.match("^(a|ab)(c|bcd)$", "spiffe://x/prod/y")

regex_match_108 := regex.match("^(a|ab)(c|bcd)$", "\u00a0")

regex_match_109 := regex.match("^(a|ab)(c|bcd)$", " ")

regex_match_110 := regex.match("^(a|ab)(c|bcd)$", "\ud83d\ude00")

regex_match_111 := regex.match("^(a|ab)(c|bcd)$", "abcd")

regex_match_112 := regex.match("^(a|ab)(c|bcd)$", "aaa")

regex_match_113 := regex.match("^(a|ab)(c|bcd)$", "A.")

regex_match_114 := regex.match("^(a|ab)(c|bcd)$", "a\nc")

regex_match_115 := regex.match("^(a|ab)(c|bcd)$", "]")

regex_match_116 := regex.match("^(a|ab)(c|bcd)$", "\u00e9")

regex_match_117 := regex.match("^(a|ab)(c|bcd)$", "\u212a")

regex_match_118 := regex.match("^(a|ab)(c|bcd)$", "")

regex_match_119 := regex.match("a{2,3}", "a-1")

regex_match_120 := regex.match("a{2,3}", "STRASSE")

regex_match_121 := regex.match("a{2,3}", "Stra\u00dfe")

regex_match_122 := regex.match("a{2,3}", "spiffe://x/prod/y")

regex_match_123 := regex.match("a{2,3}", "\u00a0")

regex_match_124 := regex.match("a{2,3}", " ")

regex_match_125 := regex.match("a{2,3}", "\ud83d\ude00")

regex_match_126 := regex.match("a{2,3}", "abcd")

regex_match_127 := regex.match("a{2,3}", "aaa")

regex_match_128 := regex.match("a{2,3}", "A.")

regex_match_129 := regex.match("a{2,3}", "a\nc")

regex_match_130 := regex.match("a{2,3}", "]")

regex_match_131 := regex.match("a{2,3}", "\u00e9")

regex_match_132 := regex.match("a{2,3}", "\u212a")

regex_match_133 := regex.match("a{2,3}", "")

regex_match_134 := regex.match("^\\x41\\.$", "a-1")

regex_match_135 := regex.match("^\\x41\\.$", "STRASSE")

regex_match_136 := regex.match("^\\x41\\.$", "Stra\u00dfe")

regex_match_137 := regex.match("^\\x41\\.$", "spiffe://x/prod/y")

regex_match_138 := regex.match("^\\x41\\.$", "\u00a0")

regex_match_139 := regex.match("^\\x41\\.$", " ")

regex_match_140 := regex.match("^\\x41\\.$", "\ud83d\ude00")

regex_match_141 := regex.match("^\\x41\\.$", "abcd")

regex_match_142 := regex.match("^\\x41\\.$", "aaa")

regex_match_143 := regex.match("^\\x41\\.$", "A.")

regex_match_144 := regex.match("^\\x41\\.$", "a\nc")

regex_match_145 := regex.match("^\\x41\\.$", "]")

regex_match_146 := regex.match("^\\x41\\.$", "\u00e9")

regex_match_147 := regex.match("^\\x41\\.$", "\u212a")

regex_match_148 := regex.match("^\\x41\\.$", "")

regex_match_149 := regex.match("(?s)a.c", "a-1")

regex_match_150 := regex.match("(?s)a.c", "STRASSE")

regex_match_151 := regex.match("(?s)a.c", "Stra\u00dfe")

regex_match_152 := regex.match("(?s)a.c", "spiffe://x/prod/y")

regex_match_153 := regex.match("(?s)a.c", "\u00a0")

regex_match_154 := regex.match("(?s)a.c", " ")

regex_match_155 := regex.match("(?s)a.c", "\ud83d\ude00")

regex_match_156 := regex.match("(?s)a.c", "abcd")

regex_match_157 := regex.match("(?s)a.c", "aaa")

regex_match_158 := regex.match("(?s)a.c", "A.")

regex_match_159 := regex.match("(?s)a.c", "a\nc")

regex_match_160 := regex.match("(?s)a.c", "]")

regex_match_161 := regex.match("(?s)a.c", "\u00e9")

regex_match_162 := regex.match("(?s)a.c", "\u212a")

regex_match_163 := regex.match("(?s)a.c", "")

regex_match_164 := regex.match("(?m)a$", "a-1")

regex_match_165 := regex.match("(?m)a$", "STRASSE")

regex_match_166 := regex.match("(?m)a$", "Stra\u00dfe")

regex_match_167 := regex.match("(?m)a$", "spiffe://x/prod/y")

regex_match_168 := regex.match("(?m)a$", "\u00a0")

regex_match_169 := regex.match("(?m)a$", " ")

regex_match_170 := regex.match("(?m)a$", "\ud83d\ude00")

regex_match_171 := regex.match("(?m)a$", "abcd")

regex_match_172 := regex.match("(?m)a$", "aaa")

regex_match_173 := regex.match("(?m)a$", "A.")

regex_match_174 := regex.match("(?m)a$", "a\nc")

regex_match_175 := regex.match("(?m)a$", "]")

regex_match_176 := regex.match("(?m)a$", "\u00e9")

regex_match_177 := regex.match("(?m)a$", "\u212a")

regex_match_178 := regex.match("(?m)a$", "")

regex_match_179 := regex.match("[^]a]", "a-1")

regex_match_180 := regex.match("[^]a]", "STRASSE")

regex_match_181 := regex.match("[^]a]", "Stra\u00dfe")

regex_match_182 := regex.match("[^]a]", "spiffe://x/prod/y")

regex_match_183 := regex.match("[^]a]", "\u00a0")

regex_match_184 := regex.match("[^]a]", " ")

regex_match_185 := regex.match("[^]a]", "\ud83d\ude00")

regex_match_186 := regex.match("[^]a]", "abcd")

regex_match_187 := regex.match("[^]a]", "aaa")

regex_match_188 := regex.match("[^]a]", "A.")

regex_match_189 := regex.match("[^]a]", "a\nc")

regex_match_190 := regex.match("[^]a]", "]")

regex_match_191 := regex.match("[^]a]", "\u00e9")

regex_match_192 := regex.match("[^]a]", "\u212a")

regex_match_193 := regex.match("[^]a]", "")
