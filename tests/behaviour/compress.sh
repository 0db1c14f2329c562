# needs: gzip bzip2 xz zstd
# Round trips of four compressors, two of them with threads.
run gzip -9 -n <"$INPUT/text.txt" >text.gz && run gzip -dc text.gz | cmp - "$INPUT/text.txt" && echo gzip
run bzip2 -9 <"$INPUT/data.bin" >data.bz2 && run bzip2 -dc data.bz2 | cmp - "$INPUT/data.bin" && echo bzip2
run xz -T2 -4 --block-size=300000 <"$INPUT/data.bin" >data.xz && run xz -T2 -dc data.xz | cmp - "$INPUT/data.bin" && echo xz
run zstd -q -T2 -9 <"$INPUT/text.txt" >text.zst && run zstd -q -T2 -dc text.zst | cmp - "$INPUT/text.txt" && echo zstd
head -c 1000 text.gz >cut.gz
run gzip -t cut.gz; echo "status $?"
