# Digests and counts.
run sha256sum "$INPUT/text.txt" "$INPUT/data.bin" | sed "s:$INPUT::"
run md5sum "$INPUT/data.bin" | cut -c1-32
run sha1sum <"$INPUT/data.bin"
run b2sum <"$INPUT/data.bin"
run cksum <"$INPUT/data.bin"
run wc "$INPUT/text.txt" | sed "s:$INPUT::"
sha256sum <"$INPUT/data.bin" | sed 's:-:/dev/stdin:' >list
run sha256sum -c list <"$INPUT/data.bin"
run sha256sum -c list <"$INPUT/text.txt"; echo "status $?"
