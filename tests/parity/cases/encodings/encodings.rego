# Builtin functions with ordinary and with odd arguments.
package parity.encodings

base64_decode_1 := base64.decode("YQ==")

base64_decode_2 := base64.decode("YQ")

base64_decode_3 := base64.decode("@@")

base64_decode_4 := base64.decode("/+8=")

base64_encode_1 := base64.encode("é")

base64_encode_2 := base64.encode("")

base64_is_valid_1 := base64.is_valid("YQ==")

base64_is_valid_2 := base64.is_valid("YQ")

base64_is_valid_3 := base64.is_valid("Y Q==")

base64url_decode_1 := base64url.decode("_-8")

base64url_decode_2 := base64url.decode("YQ==")

base64url_decode_3 := base64url.decode("YQ")

base64url_encode_1 := base64url.encode("a?>")

base64url_encode_no_pad_1 := base64url.encode_no_pad("a")

bits_and_1 := bits.and(6, 3)

bits_and_2 := bits.and(-1, 3)

bits_negate_1 := bits.negate(5)

bits_or_1 := bits.or(6, 1)

bits_rsh_1 := bits.rsh(8, 2)

bits_rsh_2 := bits.rsh(-8, 2)

bits_rsh_3 := bits.rsh(8, -1)

bits_xor_1 := bits.xor(6, 3)

bits_and_3 := bits.and(1.5, 1)

hex_decode_1 := hex.decode("c3a9")

hex_decode_2 := hex.decode("C3A9")

hex_decode_3 := hex.decode("zz")

hex_decode_4 := hex.decode("abc")

hex_decode_5 := hex.decode("ff")

hex_encode_1 := hex.encode("é")
